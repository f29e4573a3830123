/** Rules about several keys at once. They read the file's own values, so that they speak although other keys are wrong. */
import { accessSync, constants, statSync } from 'node:fs';
import path from 'node:path';
import { isMapValue, report, type Check } from './check.ts';
import { rawAt } from './explain.ts';
import { LIMITS_MAX_DEFAULT } from './schema.ts';
import { formatPath } from './source.ts';
import type { PolicyPath, Source } from './source.ts';
import type { PolicyIssue } from './types.ts';
import { checkWindows } from './windows-checks.ts';
import type { PolicyTree } from './yaml-tree.ts';

export interface CrossCheckOptions {
  /** True: script and key must exist and be readable now. */
  readonly checkFiles: boolean;
}

/** Every broken rule about keys that depend on each other; what is reported already is left out. */
export function crossCheck(source: Source, tree: PolicyTree, options: CrossCheckOptions): PolicyIssue[] {
  const check: Check = { source, tree, issues: [] };
  checkSignals(check);
  checkQueueName(check);
  checkLimits(check);
  checkSchedule(check);
  checkWarmPool(check);
  checkImages(check);
  checkConsolidation(check);
  checkRecipeFiles(check);
  checkIdentity(check);
  checkBastionIdentity(check);
  checkTrust(check);
  checkBudgetWindows(check);
  checkDeadlines(check);
  checkWindows(check);
  if (options.checkFiles) {
    checkFile(check, ['spec', 'join', 'recipe', 'script'], 'the script');
    for (const index of recipeFiles(check).keys())
      checkFile(check, ['spec', 'join', 'recipe', 'files', index], 'the file');
    checkFile(check, ['spec', 'join', 'ssh', 'identity', 'file'], 'the private key');
    checkFile(check, ['spec', 'join', 'ssh', 'knownHosts'], 'the known_hosts file');
    checkFile(check, ['spec', 'join', 'ssh', 'hostCa'], 'the file of the authority');
  }
  return check.issues;
}

function checkSignals(check: Check): void {
  const at = ['spec', 'demand'];
  const demand = rawAt(check.tree.root, at) ?? {};
  if (!isMapValue(rawAt(check.tree.root, ['spec'])) || !isMapValue(demand)) return;
  const has = (signal: string) => Object.hasOwn(demand, signal) && demand[signal] !== null;
  const keepsSome = entriesOf(demand['schedule']).some(({ min }) => typeof min === 'number');
  if (!has('utilization') && !has('queue') && !has('headroom') && !keepsSome) {
    const fix =
      'add utilization, queue, headroom or a schedule with min under spec.demand, such as `queue: { task: { cpu: 2, memory: 4GiB } }`';
    report(check, at, { code: 'POLICY_CONFLICT', message: 'nothing says how much is needed', fix });
  } else if (has('headroom') && !has('queue')) {
    const fix = 'add spec.demand.queue, such as `queue: { task: { cpu: 2, memory: 4GiB } }`';
    const message = 'headroom counts tasks of the shape of queue.task, and there is no queue';
    report(check, [...at, 'headroom'], { code: 'POLICY_CONFLICT', message, fix });
  }
}

/** A queue that several workloads share is a thing of its own; until it exists, another name must not look as if it did. */
function checkQueueName(check: Check): void {
  const at = ['spec', 'demand', 'queue', 'name'];
  const queue = rawAt(check.tree.root, at);
  const workload = rawAt(check.tree.root, ['metadata', 'name']);
  if (typeof queue !== 'string' || typeof workload !== 'string' || queue === workload) return;
  const message = `a queue under another name than the workload's (${workload}) is not supported yet`;
  report(check, at, { code: 'POLICY_UNSUPPORTED', message, fix: `write ${workload}, or leave the key out` });
}

function checkLimits(check: Check): void {
  const at = ['spec', 'burst', 'limits'];
  const limits = rawAt(check.tree.root, at);
  if (!isMapValue(limits)) return;
  const { min = 0, max = LIMITS_MAX_DEFAULT } = limits;
  if (typeof min !== 'number' || typeof max !== 'number' || min <= max) return;
  const what = { message: `min ${min} is more than max ${max}`, fix: `write at most ${max}, or raise max` };
  report(check, [...at, 'min'], { code: 'POLICY_CONFLICT', ...what });
}

function entriesOf(list: unknown): readonly Record<string, unknown>[] {
  return Array.isArray(list) ? list.filter(isMapValue) : [];
}

/** A window that could never do what it says. */
function checkSchedule(check: Check): void {
  const at = ['spec', 'demand', 'schedule'];
  const schedule = rawAt(check.tree.root, at);
  const limits = rawAt(check.tree.root, ['spec', 'burst', 'limits']);
  const { max: most = LIMITS_MAX_DEFAULT } = isMapValue(limits) ? limits : {};
  for (const [index, window] of (Array.isArray(schedule) ? schedule : []).entries()) {
    if (!isMapValue(window)) continue;
    const problem = windowProblem(window, most);
    if (problem !== null) report(check, [...at, index, ...problem.at], { code: 'POLICY_CONFLICT', ...problem.what });
  }
}

interface WindowProblem {
  readonly at: PolicyPath;
  readonly what: { readonly message: string; readonly fix: string };
}

function windowProblem(window: Record<string, unknown>, limitsMax: unknown): WindowProblem | null {
  const problem = (at: PolicyPath, message: string, fix: string): WindowProblem => ({ at, what: { message, fix } });
  const { min = null, max = null, leadTime = null } = window;
  if (min === null && max === null)
    return problem([], 'the window has neither min nor max', 'add min, such as `min: 2`, or max');
  if (min === null && leadTime !== null)
    return problem(['leadTime'], 'leadTime starts machines for min, and there is no min', 'add min, or delete it');
  if (exceeds(min, max))
    return problem(['min'], `min ${String(min)} is more than max ${String(max)}`, `write at most ${String(max)}`);
  if (exceeds(min, limitsMax)) {
    const fix = `write at most ${String(limitsMax)}, or raise spec.burst.limits.max`;
    return problem(['min'], `min ${String(min)} is more than spec.burst.limits.max ${String(limitsMax)}`, fix);
  }
  return null;
}

function exceeds(a: unknown, b: unknown): boolean {
  return typeof a === 'number' && typeof b === 'number' && a > b;
}

/** What waits must be able to run, some day all of it together. */
function checkWarmPool(check: Check): void {
  const at = ['spec', 'burst', 'warmPool', 'max'];
  const stopped = rawAt(check.tree.root, at);
  const max = rawAt(check.tree.root, ['spec', 'burst', 'limits', 'max']) ?? LIMITS_MAX_DEFAULT;
  // A policy that launches nothing for now keeps what it has.
  if (typeof stopped !== 'number' || typeof max !== 'number' || max === 0 || stopped <= max) return;
  report(check, at, {
    code: 'POLICY_CONFLICT',
    message: `${stopped} machines would wait stopped, and limits.max lets only ${max} run`,
    fix: `write at most ${max} here, or raise limits.max`,
  });
}

function checkImages(check: Check): void {
  const at = ['spec', 'burst', 'image'];
  const image = rawAt(check.tree.root, at);
  if (!isMapValue(image)) return;
  if (Object.keys(image).length === 0) {
    const fix = 'write an AMI for an architecture, such as `image: { x86_64: ami-0a1b2c3d4e5f60718 }`';
    report(check, at, { code: 'POLICY_MISSING', message: 'there is no image for any architecture', fix });
    return;
  }
  const listAt = ['spec', 'burst', 'instances', 'architectures'];
  const architectures = rawAt(check.tree.root, listAt);
  if (!Array.isArray(architectures)) return;
  for (const [index, architecture] of architectures.entries()) {
    if (typeof architecture !== 'string' || !['x86_64', 'arm64'].includes(architecture)) continue;
    if (Object.hasOwn(image, architecture)) continue;
    const message = `there is no image for ${architecture}`;
    report(check, [...listAt, index], {
      code: 'POLICY_CONFLICT',
      message,
      fix: `add spec.burst.image.${architecture}, or delete it here`,
    });
  }
}

/** What is cordoned only to save money may never be ended with work on it. */
function checkConsolidation(check: Check): void {
  const at = ['spec', 'drain'];
  const drain = rawAt(check.tree.root, at);
  if (!isMapValue(drain)) return;
  if (drain['consolidation'] !== 'whenEmptyOrUnderutilized' || drain['onDeadline'] !== 'terminate') return;
  report(check, [...at, 'consolidation'], {
    code: 'POLICY_CONFLICT',
    message: 'machines with work would be drained to save money, and onDeadline: terminate would end that work',
    fix: 'write onDeadline: wait, or consolidation: whenEmpty',
  });
}

function recipeFiles(check: Check): readonly unknown[] {
  const files = rawAt(check.tree.root, ['spec', 'join', 'recipe', 'files']);
  return Array.isArray(files) ? files : [];
}

/** Files of a recipe lie in one folder of the machine, by the last part of their paths, for the script that asks for them. */
function checkRecipeFiles(check: Check): void {
  const at = ['spec', 'join', 'recipe', 'files'];
  const names = recipeFiles(check).map((written) => (typeof written === 'string' ? path.basename(written) : null));
  if (names.length > 0 && (rawAt(check.tree.root, ['spec', 'join', 'recipe', 'script']) ?? null) === null) {
    const message = 'files are for the script, and there is none';
    report(check, at, { code: 'POLICY_CONFLICT', message, fix: 'add script beside it, or delete it' });
  }
  for (const [index, name] of names.entries()) {
    if (name === null || names.indexOf(name) === index) continue;
    const message = `two files are called ${name}, and they lie in one folder of the machine`;
    report(check, [...at, index], { code: 'POLICY_CONFLICT', message, fix: 'rename one of them' });
  }
}

/** One way to log in, and one only. */
function checkIdentity(check: Check): void {
  const at = ['spec', 'join', 'ssh', 'identity'];
  const places = at.map((_, index) => rawAt(check.tree.root, at.slice(0, index + 1)));
  // What is no map is told as such, and what it should hold is not missed on top.
  if (places.some((place) => place !== undefined && !isMapValue(place))) return;
  const identity = places.at(-1) ?? {};
  const { file, agent = false, instanceConnect = false } = identity as Readonly<Record<string, unknown>>;
  const named = [
    ...(file === undefined ? [] : [{ key: 'file', what: 'a key file' }]),
    ...(agent === false ? [] : [{ key: 'agent', what: 'an agent' }]),
    ...(instanceConnect === false ? [] : [{ key: 'instanceConnect', what: 'EC2 Instance Connect' }]),
  ];
  const [first, second] = named;
  if (first === undefined) {
    report(check, [...at, 'file'], {
      code: 'POLICY_MISSING',
      message: `${formatPath([...at, 'file'])} is required`,
      fix: 'add `file: /etc/spillway/id_ed25519` (Private key; relative paths start at this file), or `agent: true`, or `instanceConnect: true`',
    });
  } else if (second !== undefined) {
    const message = `${first.what} and ${second.what} are both named`;
    const fix = `delete one of ${first.key} and ${second.key}`;
    report(check, [...at, second.key], { code: 'POLICY_CONFLICT', message, fix });
  }
}

/** A jump host is not one of ours: EC2 Instance Connect brings no key there. */
function checkBastionIdentity(check: Check): void {
  const at = ['spec', 'join', 'ssh'];
  if (rawAt(check.tree.root, [...at, 'identity', 'instanceConnect']) !== true) return;
  const bastion = rawAt(check.tree.root, [...at, 'bastion']);
  const places = Array.isArray(bastion) ? bastion.map((_, index) => ['bastion', index]) : [['bastion']];
  for (const place of places) {
    const hop = rawAt(check.tree.root, [...at, ...place]);
    if (!isMapValue(hop) || isMapValue(hop['identity'])) continue;
    report(check, [...at, ...place], {
      code: 'POLICY_CONFLICT',
      message: 'EC2 Instance Connect brings no key to a bastion, and this one has none of its own',
      fix: 'add `identity: { file: /etc/spillway/bastion_key }` to it',
    });
  }
}

/** A mode of trust without what it trusts, or what is trusted without its mode: neither may look as if it worked. */
function checkTrust(check: Check): void {
  const at = ['spec', 'join', 'ssh'];
  const ssh = rawAt(check.tree.root, at);
  if (!isMapValue(ssh)) return;
  const { hostKey: mode = 'injected', transport = 'ssh2' } = ssh;
  checkTrustFile(check, { ssh, key: 'knownHosts', of: 'known' });
  checkTrustFile(check, { ssh, key: 'hostCa', of: 'ca' });
  if (mode === 'ca' && transport === 'ssh2') {
    const message = 'the built-in transport cannot check host certificates';
    report(check, [...at, 'hostKey'], { code: 'POLICY_CONFLICT', message, fix: 'add `transport: openssh` beside it' });
  }
}

interface TrustFile {
  readonly ssh: Readonly<Record<string, unknown>>;
  readonly key: string;
  /** The mode that reads it. */
  readonly of: string;
}

function checkTrustFile(check: Check, { ssh, key, of }: TrustFile): void {
  const at = ['spec', 'join', 'ssh'];
  const isWanted = ssh['hostKey'] === of;
  const isNamed = Object.hasOwn(ssh, key) && ssh[key] !== null;
  if (isWanted && !isNamed) {
    const message = `hostKey: ${of} needs the file ${key}`;
    report(check, [...at, 'hostKey'], { code: 'POLICY_CONFLICT', message, fix: `add ${key} beside it` });
  } else if (!isWanted && isNamed) {
    const message = `${key} is read with hostKey: ${of} only`;
    report(check, [...at, key], { code: 'POLICY_CONFLICT', message, fix: `write hostKey: ${of}, or delete it` });
  }
}

/** A budget that counts only at times needs to know for how long. */
function checkBudgetWindows(check: Check): void {
  const at = ['spec', 'drain', 'budgets'];
  const budgets = rawAt(check.tree.root, at);
  for (const [index, budget] of (Array.isArray(budgets) ? budgets : []).entries()) {
    if (!isMapValue(budget)) continue;
    for (const { key, ...what } of budgetProblems(budget))
      report(check, [...at, index, key], { code: 'POLICY_CONFLICT', ...what });
  }
}

function budgetProblems(budget: Record<string, unknown>) {
  const { schedule = null, duration = null } = budget;
  if (schedule === null) {
    const fix = 'add schedule, such as `schedule: "0 8 * * 1-5"`, or delete it';
    return ['duration', 'timezone']
      .filter((key) => (budget[key] ?? null) !== null)
      .map((key) => ({ key, message: `${key} belongs to schedule, and there is none`, fix }));
  }
  if (duration !== null) return [];
  const message = 'schedule says when the budget begins to count, and nothing for how long';
  return [{ key: 'schedule', message, fix: 'add duration, such as `duration: 10h`' }];
}

function checkDeadlines(check: Check): void {
  const at = ['spec', 'drain'];
  const drain = rawAt(check.tree.root, at);
  if (!isMapValue(drain)) return;
  const { onDeadline = 'wait', extensions = null, hooks } = drain;
  if (extensions !== null && (onDeadline === 'wait' || onDeadline === 'terminate'))
    report(check, [...at, 'extensions'], {
      code: 'POLICY_CONFLICT',
      message: `extensions belongs to onDeadline: extend, and onDeadline is ${onDeadline}`,
      fix: 'write onDeadline: extend, or delete it',
    });
  if (onDeadline === 'terminate' && isMapValue(hooks) && typeof hooks['health'] === 'string')
    report(check, [...at, 'hooks', 'health'], {
      code: 'POLICY_CONFLICT',
      message: 'a machine waits for health for as long as it takes, and onDeadline: terminate would end it',
      fix: 'write onDeadline: extend, or delete health',
    });
}

/** Paths in a policy start at the folder of the policy. */
export function resolveFrom(policyFile: string, written: string): string {
  return path.resolve(path.dirname(policyFile), written);
}

function checkFile(check: Check, at: PolicyPath, what: string): void {
  const written = rawAt(check.tree.root, at);
  // Text that cannot be a path is the schema's to refuse; file calls would throw on it.
  if (typeof written !== 'string' || written === '' || written.includes('\0') || written.startsWith('~')) return;
  const file = resolveFrom(check.source.file, written);
  const problem = fileProblem(file);
  if (problem === null) return;
  const fix = 'correct the path, or put the file there; relative paths start at the folder of the policy';
  report(check, at, { code: 'POLICY_FILE_MISSING', message: `${what} ${file} ${problem}`, fix });
}

function fileProblem(file: string): string | null {
  try {
    if (!statSync(file).isFile()) return 'is not a file';
    accessSync(file, constants.R_OK);
    return null;
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : undefined;
    return code === 'ENOENT' || code === 'ENOTDIR' ? 'does not exist' : `cannot be read (${String(code)})`;
  }
}
