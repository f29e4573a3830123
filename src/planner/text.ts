/** A share as a reader says it: `75 %`. */
export function percent(share: number): string {
  return `${Math.round(share * 100)} %`;
}
