/** What the policy format will have and this version refuses by name, so that nobody believes in a key that does nothing. */

/** Ends of key paths; a key counts only where the schema does not know it. */
const UNSUPPORTED_KEYS: readonly string[] = [
  'allocationStrategy',
  'approval',
  'autoScalingGroup',
  'budget.action',
  'budget.daily',
  'budget.monthly',
  'dryRun',
  'expireAfter',
  'gpus',
  'launchTemplate',
  'paused',
];

/** Values that a known key will take one day, by the key's path. */
const UNSUPPORTED_VALUES: Readonly<Record<string, readonly string[]>> = {
  'spec.drain.budgets.reasons': ['drifted'],
  'spec.demand.queue.source': ['slurm', 'nomad', 'mesos', 'kubernetes', 'yarn', 'sqs', 'redis', 'http', 'prometheus'],
};

/** For keys that the schema does not know. */
export function isUnsupportedKey(indexedPath: string): boolean {
  const path = withoutIndices(indexedPath);
  return UNSUPPORTED_KEYS.some((key) => path === key || path.endsWith(`.${key}`));
}

/** For values that a known key refused. */
export function isUnsupportedValue(path: string, value: unknown): boolean {
  return typeof value === 'string' && (UNSUPPORTED_VALUES[withoutIndices(path)] ?? []).includes(value);
}

/** A list's entries are alike. */
function withoutIndices(path: string): string {
  return path.replaceAll(/\[\d+\]/g, '');
}
