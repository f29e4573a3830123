import assert from 'node:assert';
import { isId } from '../../model/ids.ts';
import type { AgentId } from '../../model/ids.ts';
import type { Architecture } from '../../model/offering.ts';
import { NO_RESOURCES } from '../../model/resources.ts';
import type { MeasuredUse, Resources } from '../../model/resources.ts';
import { SECOND_MS } from '../../model/time.ts';
import { waitMs } from '../../model/waits.ts';
import { SCRIPT_BYTES_MAX } from '../../ports/agent-gateway.ts';
import type {
  AgentOrders,
  AgentRegistration,
  AgentReport,
  AgentTiming,
  CordonState,
  ReportedTask,
  RunOrder,
} from '../../ports/agent-gateway.ts';

/** The words of `src/agent/PROTOCOL.md`. Pure; whatever an agent sends either parses whole or is refused whole. */

/** No request has a larger body, and no answer: a shell reads it byte by byte. */
export const BODY_BYTES_MAX = 64 * 1024;
/** Base64 of 3 KiB. */
const PROGRESS_CHARACTERS_MAX = 4096;
/** How long an answer may be held, whatever the agent asks for: below the 60 s after which proxies give up. */
export const WAIT_SECONDS_MAX = waitMs('agent-api.hold') / SECOND_MS;
const LABELS_MAX = 64;
/** More than this in milli-CPU or MiB (a million cores, a pebibyte) is a mistake or a lie; it also fits Postgres' integer. */
const AMOUNT_MAX = 1_000_000_000;
const GPUS_MAX = 1024;

/** A refusal with the line at fault; expected from outside, so a value of the parser and not an operating failure. */
export interface ProtocolError {
  readonly line: number;
  readonly message: string;
}

export type Parsed<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly error: ProtocolError };

export interface ParsedHeartbeat {
  readonly report: AgentReport;
  /** 0 to 55: how long the agent is content to wait for the answer. */
  readonly waitSeconds: number;
}

/** Thrown and caught inside this file only; `readLines` fills the line in. */
class Refusal extends Error {
  line = 0;

  at(line: number): this {
    this.line = line;
    return this;
  }
}

const NAME = /^[A-Za-z0-9](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9])?$/;
const BOOT = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
const LABEL_KEY = /^[A-Za-z0-9](?:[A-Za-z0-9._/-]{0,61}[A-Za-z0-9])?$/;
const LABEL_VALUE = /^[A-Za-z0-9._:/@+-]{1,63}$/;
const NUMBER = /^(?:0|[1-9][0-9]{0,14})$/;
const NOTICE_WORD = /^[A-Za-z0-9:.+-]{1,30}$/;
const NOTICE_TIME = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(?:\.\d{1,9})?Z$/;
const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;

type Handler = (words: readonly string[]) => void;
type Handlers = Readonly<Record<string, Handler>>;

/** Runs one handler per line; every word but the repeatable ones may come once, and the required ones must. */
function readLines(
  body: string,
  handlers: Handlers,
  rules: { repeatable: readonly string[]; required: readonly string[] },
): void {
  const seen = new Set<string>();
  const lines = body.split('\n');
  if (lines.pop() !== '') throw new Refusal('the last line does not end').at(lines.length + 1);
  const readLine = (line: string): void => {
    const [word = '', ...words] = line.split(' ');
    const handler = Object.hasOwn(handlers, word) ? handlers[word] : undefined;
    if (handler === undefined) throw new Refusal(`unknown word ${JSON.stringify(word.slice(0, 32))}`);
    if (seen.has(word) && !rules.repeatable.includes(word)) throw new Refusal(`${word} came twice`);
    seen.add(word);
    handler(words);
  };
  for (const [index, line] of lines.entries()) {
    try {
      readLine(line);
    } catch (error) {
      throw error instanceof Refusal ? error.at(index + 1) : error;
    }
  }
  for (const word of rules.required) {
    if (!seen.has(word)) throw new Refusal(`${word} is missing`).at(lines.length + 1);
  }
}

function collect<T>(parse: () => T): Parsed<T> {
  try {
    return { ok: true, value: parse() };
  } catch (error) {
    if (error instanceof Refusal) return { ok: false, error: { line: error.line, message: error.message } };
    throw error;
  }
}

function expectWords(words: readonly string[], least: number, most = least): void {
  if (words.length < least || words.length > most) throw new Refusal('wrong number of words');
}

function readNumber(text: string | undefined, most: number, least = 0): number {
  const value = text !== undefined && NUMBER.test(text) ? Number(text) : Number.NaN;
  if (!(value >= least && value <= most)) throw new Refusal(`not a whole number from ${least} to ${most}`);
  return value;
}

function readText(words: readonly string[], pattern: RegExp, what: string): string {
  expectWords(words, 1);
  const [text = ''] = words;
  if (!pattern.test(text)) throw new Refusal(`not a ${what}`);
  return text;
}

function readAmount(words: readonly string[], least: number): MeasuredUse {
  expectWords(words, 2);
  return { cpuMilli: readNumber(words[0], AMOUNT_MAX, least), memoryMib: readNumber(words[1], AMOUNT_MAX, least) };
}

function readGpus(words: readonly string[]): number {
  expectWords(words, 1);
  return readNumber(words[0], GPUS_MAX);
}

function readArch(words: readonly string[]): Architecture {
  expectWords(words, 1);
  const [arch] = words;
  if (arch !== 'x86_64' && arch !== 'arm64') throw new Refusal('the architecture is x86_64 or arm64');
  return arch;
}

/** `unknown` is a word of its own: a probe that fails must not look like a machine without work. */
function readOthers(words: readonly string[]): number | 'unknown' {
  expectWords(words, 1);
  return words[0] === 'unknown' ? 'unknown' : readNumber(words[0], AMOUNT_MAX);
}

/** EC2's word, passed on: a time that does not read as one is not known, and the notice counts all the same. */
function readNoticeTime(text: string | undefined): number | null {
  if (text === undefined || !NOTICE_WORD.test(text)) throw new Refusal('not a word of a notice');
  const atMs = NOTICE_TIME.test(text) ? Date.parse(text) : Number.NaN;
  return Number.isNaN(atMs) ? null : atMs;
}

function readProgress(text: string | undefined): string | null {
  if (text === undefined) return null;
  if (text === '' || text.length > PROGRESS_CHARACTERS_MAX || !BASE64.test(text))
    throw new Refusal('not a progress in base64');
  return text;
}

function readTask(words: readonly string[]): ReportedTask {
  const [taskId = '', attemptText, state] = words;
  if (!isId('tk', taskId)) throw new Refusal('not the id of a task');
  const common = { taskId, attempt: readNumber(attemptText, Number.MAX_SAFE_INTEGER, 1) };
  if (state === 'running') {
    expectWords(words, 3, 4);
    return { ...common, state, progressBase64: readProgress(words[3]) };
  }
  if (state === 'exited') {
    expectWords(words, 4, 5);
    return { ...common, state, exitCode: readNumber(words[3], 255), progressBase64: readProgress(words[4]) };
  }
  throw new Refusal('a task is running or exited');
}

/** What both bodies say of the machine; agents without GPUs, and those that know of none, do not speak of them. */
interface Draft {
  bootId: string;
  capacity: Resources;
  arch: Architecture | null;
}

function emptyDraft(): Draft {
  return { bootId: '', capacity: NO_RESOURCES, arch: null };
}

function capacityHandlers(draft: Draft): Handlers {
  return {
    capacity: (words) => void (draft.capacity = { ...draft.capacity, ...readAmount(words, 1) }),
    gpus: (words) => void (draft.capacity = { ...draft.capacity, gpus: readGpus(words) }),
    arch: (words) => void (draft.arch = readArch(words)),
  };
}

/** The body of `POST /agent/v1/register`. */
export function parseRegistration(body: string): Parsed<AgentRegistration> {
  return collect(() => {
    const draft: Draft & { name: string } = { ...emptyDraft(), name: '' };
    const labels = new Map<string, string>();
    const handlers: Handlers = {
      protocol: (words) => {
        expectWords(words, 1);
        if (words[0] !== '1') throw new Refusal('this service speaks protocol 1');
      },
      name: (words) => void (draft.name = readText(words, NAME, 'host name')),
      boot: (words) => void (draft.bootId = readText(words, BOOT, 'boot id')),
      ...capacityHandlers(draft),
      label: (words) => {
        expectWords(words, 2);
        const [key = '', value = ''] = words;
        if (!LABEL_KEY.test(key) || !LABEL_VALUE.test(value)) throw new Refusal('not a label');
        if (labels.has(key) || labels.size >= LABELS_MAX) throw new Refusal('a label twice, or too many');
        labels.set(key, value);
      },
    };
    readLines(body, handlers, { repeatable: ['label'], required: ['protocol', 'name', 'boot', 'capacity'] });
    return { ...draft, labels: Object.fromEntries(labels) };
  });
}

/** The body of `POST /agent/v1/heartbeat`. */
export function parseHeartbeat(body: string): Parsed<ParsedHeartbeat> {
  return collect(() => {
    const draft: Draft & { seq: number; leaving: boolean } = { ...emptyDraft(), seq: 0, leaving: false };
    let used: MeasuredUse | null = null;
    let cordon: CordonState | null = null;
    let waitSeconds = 0;
    let notices: Pick<AgentReport, 'others' | 'interruption' | 'rebalance'> = {};
    const tasks = new Map<string, ReportedTask>();
    const readCordon = (cordoned: boolean, words: readonly string[]): void => {
      expectWords(words, 1);
      if (cordon !== null) throw new Refusal('cordon or uncordon, not both');
      cordon = { cordoned, generation: readNumber(words[0], Number.MAX_SAFE_INTEGER) };
    };
    const handlers: Handlers = {
      boot: (words) => void (draft.bootId = readText(words, BOOT, 'boot id')),
      seq: (words) => {
        expectWords(words, 1);
        draft.seq = readNumber(words[0], Number.MAX_SAFE_INTEGER, 1);
      },
      ...capacityHandlers(draft),
      used: (words) => void (used = readAmount(words, 0)),
      cordon: (words) => readCordon(true, words),
      uncordon: (words) => readCordon(false, words),
      wait: (words) => {
        expectWords(words, 1);
        waitSeconds = Math.min(readNumber(words[0], 3600), WAIT_SECONDS_MAX);
      },
      leaving: (words) => {
        expectWords(words, 0);
        draft.leaving = true;
      },
      others: (words) => void (notices = { ...notices, others: readOthers(words) }),
      rebalance: (words) => {
        expectWords(words, 1);
        readNoticeTime(words[0]);
        notices = { ...notices, rebalance: true };
      },
      interruption: (words) => {
        expectWords(words, 2);
        readNoticeTime(words[0]);
        notices = { ...notices, interruption: { atMs: readNoticeTime(words[1]) } };
      },
      task: (words) => {
        const task = readTask(words);
        const key = `${task.taskId}.${task.attempt}`;
        if (tasks.has(key)) throw new Refusal('a task came twice');
        tasks.set(key, task);
      },
    };
    readLines(body, handlers, { repeatable: ['task'], required: ['boot', 'seq', 'capacity'] });
    const obeyed = cordon ?? { cordoned: false, generation: 0 };
    const report = { ...draft, ...notices, used, cordon: obeyed, tasks: [...tasks.values()] };
    return { report, waitSeconds };
  });
}

/** The answer to a registration. */
export function encodeRegistered(agentId: AgentId, token: string, timing: AgentTiming): string {
  return `agent ${agentId}\ntoken ${token}\n${encodeTiming(timing)}`;
}

function encodeTiming(timing: AgentTiming): string {
  assert(
    Number.isInteger(timing.intervalS) && timing.intervalS >= 1 && timing.intervalS <= 3600,
    'interval out of range',
  );
  assert(
    Number.isInteger(timing.leaseS) && timing.leaseS >= timing.intervalS && timing.leaseS <= 3600,
    'lease out of range',
  );
  return `interval ${timing.intervalS}\nlease ${timing.leaseS}\n`;
}

/**
 * The answer to a heartbeat. Orders that do not fit into `BODY_BYTES_MAX` are left out: they are a state, so the next
 * answer brings them. What frees room on the agent comes first.
 */
export function encodeOrders(orders: AgentOrders): string {
  const { cordoned, generation } = orders.cordon;
  let text = `${encodeTiming(orders.timing)}${cordoned ? 'cordon' : 'uncordon'} ${generation}\n`;
  if (orders.leave) text += 'leave\n';
  const add = (line: string): boolean => {
    // Every line is ASCII, so characters are bytes.
    if (text.length + line.length > BODY_BYTES_MAX) return false;
    text += line;
    return true;
  };
  for (const { taskId, attempt } of orders.ack) if (!add(`ack ${taskId} ${attempt}\n`)) return text;
  for (const { taskId, attempt } of orders.stop) if (!add(`stop ${taskId} ${attempt}\n`)) return text;
  for (const order of orders.run) if (!add(encodeRun(order))) return text;
  return text;
}

function encodeRun(order: RunOrder): string {
  const script = Buffer.from(order.script, 'utf8');
  assert(script.byteLength > 0 && script.byteLength <= SCRIPT_BYTES_MAX, `script of ${order.taskId} out of bounds`);
  const progress = order.progressBase64 === '' ? null : order.progressBase64;
  const { gpus } = order.shape;
  // Words are told apart by their places: `-` keeps that of the progress.
  const rest = gpus === 0 ? (progress === null ? '' : ` ${progress}`) : ` ${progress ?? '-'} ${gpus}`;
  const shape = `${order.shape.cpuMilli} ${order.shape.memoryMib}`;
  return `run ${order.taskId} ${order.attempt} ${shape} ${script.toString('base64')}${rest}\n`;
}

/** True when the orders ask for anything that the report does not show as done already: then the answer is not held. */
export function hasNews(orders: AgentOrders, report: AgentReport): boolean {
  const { cordoned, generation } = orders.cordon;
  return (
    orders.leave ||
    orders.run.length + orders.stop.length + orders.ack.length > 0 ||
    cordoned !== report.cordon.cordoned ||
    (cordoned && generation !== report.cordon.generation)
  );
}
