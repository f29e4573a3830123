/** One JSON line of `npm run bench`. */
export interface Figure {
  readonly bench: string;
  readonly figure: string;
  readonly value: number;
  readonly unit: string;
  /** What was measured and how, so that the line means something on its own. */
  readonly detail: string;
}

export interface BenchContext {
  /** Aborts on Ctrl-C and SIGTERM: a bench then stops what it started and rejects. */
  readonly signal: AbortSignal;
  /** One line for the person who waits; never on standard output. */
  progress(text: string): void;
}

export interface Bench {
  readonly name: string;
  /** One line for `--list`. */
  readonly about: string;
  run(context: BenchContext): Promise<readonly Figure[]>;
}

/** Rounds to four significant digits: what is behind them is noise on any machine. */
export function makeFigure(bench: string, figure: string, value: number, unit: string, detail: string): Figure {
  return { bench, figure, value: Number(value.toPrecision(4)), unit, detail };
}
