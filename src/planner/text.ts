/** A share as a reader says it: `75 %`. */
export function percent(share: number): string {
  return `${Math.round(share * 100)} %`;
}

/** `1 machine`, `3 machines`. */
export function countOf(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`;
}
