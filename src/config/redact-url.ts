/** Query keys of connection URLs whose values help and hold no secret. */
const SHOWN_QUERY_KEYS: readonly string[] = ['application_name', 'host', 'port', 'sslmode'];

/**
 * A connection URL without what may be secret: the password and unknown query values become `***`, the fragment goes.
 * What is not a URL becomes `***` as a whole.
 */
export function redactUrl(url: string): string {
  if (!URL.canParse(url)) return '***';
  const parsed = new URL(url);
  if (parsed.password !== '') parsed.password = '***';
  for (const key of new Set(parsed.searchParams.keys())) {
    if (!SHOWN_QUERY_KEYS.includes(key)) parsed.searchParams.set(key, '***');
  }
  parsed.hash = '';
  return parsed.toString();
}
