/** SSH over networks that are really apart: a jump host between two, a cable that is cut, a cable that is slow; real sshd. */
import { execFile } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import { homedir } from 'node:os';
import { basename, join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { ShellTarget } from '../../src/ports/shell.ts';
import { networksMissing, slowCablesMissing, TestNetwork } from '../support/networks.ts';
import { sshdProgram, sshProgram, startSshd, type TestSshd } from '../support/sshd.ts';
import { until } from '../support/wait.ts';
import { shows } from '../support/waits.ts';
import type { SessionOrder, SessionWord } from './session-process.ts';
import { targetAt } from './ssh-server.ts';

const PROGRAM = new URL('./session-process.ts', import.meta.url).pathname;
const HOME_SIDE = '10.77.1.2';
const FAR_SIDE = '10.77.2.2';
const transports = (['ssh2', 'openssh'] as const).filter((name) => name === 'ssh2' || sshProgram !== null);

/** One session from inside a network. */
async function sessionIn(network: TestNetwork, order: Partial<SessionOrder>): Promise<SessionWord> {
  const full = { files: [], script: 'echo reached', limits: {}, ...order };
  const [program, ...args] = [...network.within, process.execPath, PROGRAM, JSON.stringify(full)];
  const { stdout } = await promisify(execFile)(program, args, { timeout: 58_000, encoding: 'utf8' });
  return JSON.parse(stdout) as SessionWord;
}

describe.skipIf(networksMissing !== null || sshdProgram === null).each(transports)('over %s', (transport) => {
  let home: TestNetwork;
  let between: TestNetwork;
  let far: TestNetwork;
  let jump: TestSshd;
  let machine: TestSshd;
  let folder = '';

  // home - between - far: the one in the middle forwards nothing.
  beforeAll(async () => {
    folder = mkdtempSync(join(homedir(), '.spillway-test-'));
    home = await TestNetwork.make();
    between = await TestNetwork.make(home);
    far = await TestNetwork.make(home);
    TestNetwork.join(
      { network: home, device: 'home0', address: '10.77.1.1/24' },
      { network: between, device: 'near0', address: `${HOME_SIDE}/24` },
    );
    TestNetwork.join(
      { network: between, device: 'near1', address: '10.77.2.1/24' },
      { network: far, device: 'far0', address: `${FAR_SIDE}/24` },
    );
    jump = await startSshd({ network: { within: between.within, address: HOME_SIDE } });
    machine = await startSshd({ network: { within: far.within, address: FAR_SIDE } });
  });
  afterAll(async () => {
    await Promise.all([jump, machine].map(async (sshd) => await sshd.stop()));
    for (const network of [far, between, home]) await network.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  const direct = (): ShellTarget => ({ ...targetAt(machine), transport });
  const through = (): ShellTarget => ({ ...direct(), jumps: [targetAt(jump)] });
  const nearest = (): ShellTarget => ({ ...targetAt(jump), transport });

  test('a machine in a network that cannot be reached is reached through a jump host, and no other way', async () => {
    expect(await sessionIn(home, { target: direct() })).toMatchObject({ code: 'SSH_UNREACHABLE' });
    expect(await sessionIn(home, { target: through() })).toEqual({ output: 'reached\n' });
  });

  test.skipIf(slowCablesMissing !== null)('a slow cable is not taken for a lost one', async () => {
    const path = `${basename(folder)}/slow`;
    const files = [{ path, content: 'x'.repeat(96 * 1024), mode: 0o600 }];
    home.slowDown('home0');
    try {
      const limits = { keepaliveMs: 1000, keepalivesMax: 3 };
      expect(await sessionIn(home, { target: through(), files, limits })).toEqual({ output: 'reached\n' });
      expect(statSync(join(homedir(), path)).size).toBe(96 * 1024);
    } finally {
      home.speedUp('home0');
    }
  });

  test.each([
    ['to the machine', 'near0', nearest],
    ['behind the jump host', 'far0', through],
  ] as const)(
    `a cable that is cut %s in mid-command is noticed by the keep-alives ${shows('ssh.keepalive')}`,
    async (_, device, target) => {
      const mark = join(folder, `mark-${device}`);
      const script = `touch ${mark}; exec sleep 55`;
      const limits = { keepaliveMs: 1000, keepalivesMax: 2 };
      const word = sessionIn(home, { target: target(), script, limits });
      await until('the command runs', () => existsSync(mark), { deadlineMs: 40_000 });
      const network = device === 'far0' ? far : between;
      network.cut(device);
      try {
        // The deadline of the session would say TIMEOUT, and TCP would wait for a quarter of an hour.
        expect(await word).toMatchObject({ code: 'SSH_UNREACHABLE' });
      } finally {
        network.mend(device);
        // The kernel takes its time to believe in it again.
        await until('it carries again', async () => 'output' in (await sessionIn(home, { target: through() })), {
          deadlineMs: 40_000,
        });
      }
    },
  );
});
