import type { ProtectionDocument } from '../../ports/reports.ts';

/** Who protects a machine, until when, and why: `by ada until 2026-11-23T12:00:00.000Z: its cache is warm`. */
export function protectionText({ by, who, until, reason }: ProtectionDocument): string {
  if (by === 'tag') return 'by the tag spillway:protected of its instance';
  const time = until === null ? 'until it is taken back' : `until ${until}`;
  return `by ${who ?? 'an operator'} ${time}${reason === null ? '' : `: ${reason}`}`;
}
