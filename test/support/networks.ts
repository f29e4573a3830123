/**
 * Networks of their own for tests: namespaces of the kernel, joined by virtual cables, seen by nobody else. Each lives as long as
 * a process of ours that waits for the end of its input, so that nothing is left whatever ends the test.
 */
import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readlinkSync } from 'node:fs';
import { until } from './wait.ts';

const [uid, gid] = [process.getuid?.() ?? 0, process.getgid?.() ?? 0];
const isRoot = uid === 0;
/** Who is not root may make networks as the root of a user namespace. */
const USER_NAMESPACE = isRoot ? [] : ['--user', '--map-root-user'];
/** What runs in a network is the same user as outside: sshd then logs in nobody else. */
const AS_BEFORE = isRoot ? [] : ['unshare', '--user', `--map-user=${uid}`, `--map-group=${gid}`];
const COMMAND_MS = 10_000;
const CABLE = ['ip', 'link', 'add', 'sw0', 'type', 'veth', 'peer', 'name', 'sw1'];
/** Half a megabit a second, with room for 400 ms of what waits. */
const SLOW = ['root', 'tbf', 'rate', '512kbit', 'burst', '3000', 'latency', '400ms'];

/** Null where the kernel and its tools give networks; else why not. */
export const networksMissing = reasonAgainst('that need networks of their own', [CABLE]);
/** Null where a cable can be made slow; else why not. */
export const slowCablesMissing =
  networksMissing ?? reasonAgainst('that need a slow cable', [CABLE, ['tc', 'qdisc', 'add', 'dev', 'sw0', ...SLOW]]);

function reasonAgainst(which: string, commands: readonly (readonly string[])[]): string | null {
  const script = commands.map((words) => words.join(' ')).join(' && ');
  try {
    const options = { timeout: COMMAND_MS, stdio: 'pipe', encoding: 'utf8' } as const;
    execFileSync('unshare', [...USER_NAMESPACE, '--net', 'sh', '-c', script], options);
    return null;
  } catch (error) {
    const [why = ''] = (error instanceof Error ? error.message : String(error)).split('\n').slice(-2);
    process.stderr.write(`SKIPPED: every test of those ${which}: ${why}\n`);
    return why;
  }
}

export interface CableEnd {
  readonly network: TestNetwork;
  readonly device: string;
  /** With the length of its prefix: `10.77.1.1/24`. */
  readonly address: string;
}

export class TestNetwork {
  /** What a command begins with to run in it. */
  readonly within: readonly string[];
  readonly #enter: readonly string[];
  readonly #keeper: ChildProcess;

  private constructor(keeper: ChildProcess) {
    this.#keeper = keeper;
    const user = isRoot ? [] : ['--user', '--preserve-credentials'];
    this.#enter = ['nsenter', '-t', String(keeper.pid), ...user, '--net'];
    this.within = [...this.#enter, ...AS_BEFORE];
  }

  /** @param beside a network that it can have a cable to; the first one has none */
  static async make(beside?: TestNetwork): Promise<TestNetwork> {
    const [program = '', ...args] =
      beside === undefined || isRoot
        ? ['unshare', ...USER_NAMESPACE, '--net', 'cat']
        : [...beside.#enter, 'unshare', '--net', 'cat'];
    const keeper = spawn(program, args, { stdio: ['pipe', 'ignore', 'inherit'] });
    const outside = [process.pid, ...(beside === undefined ? [] : [beside.#keeper.pid])].map(namespaceOf);
    await until('the network is there', () => !outside.includes(namespaceOf(keeper.pid)));
    const network = new TestNetwork(keeper);
    network.run('ip', 'link', 'set', 'lo', 'up');
    return network;
  }

  run(...command: readonly string[]): void {
    const [program = '', ...args] = [...this.#enter, ...command];
    execFileSync(program, args, { timeout: COMMAND_MS, stdio: ['ignore', 'ignore', 'pipe'] });
  }

  /** What goes out by that device is slow from now on. */
  slowDown(device: string): void {
    this.run('tc', 'qdisc', 'add', 'dev', device, ...SLOW);
  }

  speedUp(device: string): void {
    this.run('tc', 'qdisc', 'del', 'dev', device, 'root');
  }

  /** Nothing goes by that device any more, and nobody is told. */
  cut(device: string): void {
    this.run('ip', 'link', 'set', device, 'down');
  }

  mend(device: string): void {
    this.run('ip', 'link', 'set', device, 'up');
  }

  async stop(): Promise<void> {
    const exited = once(this.#keeper, 'exit');
    this.#keeper.stdin?.end();
    await exited;
  }

  /** A cable between two networks. */
  static join(one: CableEnd, other: CableEnd): void {
    const peer = ['peer', 'name', other.device, 'netns', String(other.network.#keeper.pid)];
    one.network.run('ip', 'link', 'add', one.device, 'type', 'veth', ...peer);
    for (const { network, device, address } of [one, other]) {
      network.run('ip', 'address', 'add', address, 'dev', device);
      network.run('ip', 'link', 'set', device, 'up');
    }
  }
}

/** Also of a process that has just been started and is still where its parent is. */
function namespaceOf(pid: number | undefined): string {
  return readlinkSync(`/proc/${pid}/ns/net`);
}
