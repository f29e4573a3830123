/** Figures that machine steps report; each call is cheap and never throws. */
export interface StepMeter {
  /** One RunInstances call and what came of it; `errorClass` is empty unless it was refused. */
  launchAttempted(attempt: { readonly outcome: string; readonly errorClass: string }): void;
  /** One visit of a step to its row that threw. */
  stepFailed(failure: { readonly kind: 'launch' | 'machine'; readonly code: string }): void;
  /** From the intent to a ready machine. */
  joined(tookMs: number): void;
  /** From the cordon to the end of the last task. */
  drained(tookMs: number): void;
}
