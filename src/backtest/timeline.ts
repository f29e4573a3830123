/** How things stood at one moment. */
export interface Levels {
  readonly localUsedMilli: number;
  readonly cloudUsedMilli: number;
  /** Of all live nodes, booting ones too. */
  readonly cloudCpuMilli: number;
  readonly pendingMilli: number;
  readonly spentUsd: number;
}

export interface Sample extends Levels {
  readonly atS: number;
}

/** Samples at equal distances, taken as the replay passes them. */
export class Timeline {
  readonly samples: Sample[] = [];
  readonly #stepS: number;
  readonly #endS: number;
  #nextS: number;

  /** `count` of 0 takes none. */
  constructor(startS: number, endS: number, count: number) {
    this.#stepS = count > 0 ? Math.max(1, (endS - startS) / count) : Infinity;
    this.#nextS = count > 0 ? startS : Infinity;
    this.#endS = endS;
  }

  /** Takes the samples before `untilS`, all of which stand as things stand now. */
  record(untilS: number, levels: (atS: number) => Levels): void {
    while (this.#nextS < untilS && this.#nextS <= this.#endS) {
      this.samples.push({ atS: this.#nextS, ...levels(this.#nextS) });
      this.#nextS += this.#stepS;
    }
  }
}
