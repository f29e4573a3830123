import { StringDecoder } from 'node:string_decoder';

/** ESC or the one-byte CSI, parameters, final byte. Each class excludes ESC, so that matching stays linear. */
// oxlint-disable-next-line no-control-regex -- control characters are what this removes
const CSI_PATTERN = /(?:\u001b\[|\u009b)[0-?]*[ -/]*[@-~]/g;
/** Window titles and links: ESC ] ... BEL or ESC \ . */
// oxlint-disable-next-line no-control-regex -- as above
const OSC_PATTERN = /\u001b\][^\u0007\u001b]*(?:\u0007|\u001b\\)/g;
/** C0 but tab and newline, DEL, C1, and the marks that reorder text on a screen. */
// oxlint-disable-next-line no-control-regex -- as above
const CONTROL_PATTERN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;

/**
 * Text of a machine as it may be shown and stored: a machine that somebody else is root on must not move the cursor,
 * rename windows or reverse the reading order of an operator's terminal. Linear in the length of `text`.
 */
export function cleanOutput(text: string): string {
  return text.replaceAll(OSC_PATTERN, '').replaceAll(CSI_PATTERN, '').replaceAll(CONTROL_PATTERN, '');
}

export interface OutputCollector {
  /** `source` keeps the halves of a character that was cut by interleaving apart. */
  add(source: 'stdout' | 'stderr', chunk: Buffer): void;
  /** Cleaned text so far. */
  text(): string;
  isTruncated(): boolean;
}

/** Keeps the first `bytesMax` bytes of two interleaved streams and counts nothing else: the rest is read and dropped. */
export function collectOutput(bytesMax: number): OutputCollector {
  const decoders = { stdout: new StringDecoder('utf8'), stderr: new StringDecoder('utf8') };
  const parts: string[] = [];
  let keptBytes = 0;
  let truncated = false;
  return {
    add: (source, chunk) => {
      const kept = chunk.subarray(0, bytesMax - keptBytes);
      truncated ||= kept.length < chunk.length;
      keptBytes += kept.length;
      if (kept.length > 0) parts.push(decoders[source].write(kept));
    },
    text: () => cleanOutput(parts.join('')),
    isTruncated: () => truncated,
  };
}
