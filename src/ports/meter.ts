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

/** Figures of the calls to EC2; `action` is EC2's own name. Each is cheap and never throws. */
export interface CloudMeter {
  /** A call was made; each page and each try is one. */
  ec2Called(action: string): void;
  /** EC2 answered that there were too many. */
  ec2Throttled(action: string): void;
  /** Our own buckets had no token: a read waits, a launch or a termination comes back later. */
  ec2PutOff(action: string): void;
}
