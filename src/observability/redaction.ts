/**
 * What must never be read in a log. Two nets: fields by their name, at the first three levels of an object,
 * and secrets by their shape wherever they stand in a line, because an error message may carry one.
 */
export const REDACTED = '[redacted]';

/** Names of fields that hold secrets, or whole texts that may (user-data, environment of recipes, headers). */
export const SECRET_FIELDS: readonly string[] = [
  'password',
  'secret',
  'token',
  'bearer',
  'authorization',
  'cookie',
  'privateKey',
  'hostPrivateKey',
  'userData',
  'user_data',
  'secretAccessKey',
  'sessionToken',
  'databaseUrl',
  'queueUrl',
  'DATABASE_URL',
  'QUEUE_URL',
  'headers',
  'env',
  'leaseToken',
  'lease_token',
  'enrolToken',
  'agentToken',
];

/** The paths in pino's own language. */
export const REDACTED_PATHS: readonly string[] = SECRET_FIELDS.flatMap((field) => [
  field,
  `*.${field}`,
  `*.*.${field}`,
]);

// None of them crosses a quote, so that a JSON line stays one.
const PATTERNS: readonly { readonly pattern: RegExp; readonly replacement: string }[] = [
  // Passwords in URLs: postgres://user:PASSWORD@host.
  { pattern: /(\b[a-z][a-z0-9+.-]{1,20}:\/\/[^\s:/@"\\]{0,128}:)[^\s/@"\\]{1,512}@/gi, replacement: `$1${REDACTED}@` },
  { pattern: /\b(Bearer|Basic) [A-Za-z0-9._~+/=-]{8,}/gi, replacement: `$1 ${REDACTED}` },
  { pattern: /-----BEGIN [A-Z ]*PRIVATE KEY-----[^"]*/g, replacement: REDACTED },
  // SigV4: the signature is worth five minutes, which is five minutes too many.
  {
    pattern: /\b(Signature=|X-Amz-Signature=|X-Amz-Security-Token=)[A-Za-z0-9%/+=-]{8,}/gi,
    replacement: `$1${REDACTED}`,
  },
];

/** A line with everything that looks like a secret blotted out. */
export function scrubText(line: string): string {
  return PATTERNS.reduce((text, { pattern, replacement }) => text.replaceAll(pattern, replacement), line);
}
