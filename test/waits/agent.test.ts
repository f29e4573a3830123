/**
 * Goal: an agent waits for the service no longer than the list says.
 * Method: the numbers stand in a file of `sh`. Its own lines are taken from it, with the number replaced by a small one, which
 * fails when the published number is not there; the client then meets a service that never answers.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, onTestFinished, test } from 'vitest';
import { DEAD_MAN_DEFAULT } from '../../src/model/policy.ts';
import { waitMs, type WaitName } from '../../src/model/waits.ts';
import { blackHole, fullHouse, shows } from '../support/waits.ts';

const SCRIPT = readFileSync(fileURLToPath(new URL('../../src/agent/spillway-agent.sh', import.meta.url)), 'utf8');
/** curl: a time-out ran out. */
const TIMED_OUT = 28;

const seconds = (name: WaitName): number => waitMs(name) / 1000;

/** One function of a script. */
function functionOf(text: string, name: string): string {
  const start = text.indexOf(`${name}() {`);
  return text.slice(start, text.indexOf('\n}\n', start) + 3);
}

/** The function of the script that calls the service, with everything it needs. */
function post(text: string): string {
  return `client=curl limiter=\n${functionOf(text, 'post')}`;
}

async function run(shell: string): Promise<number | null> {
  const child = spawn('sh', ['-c', shell], { stdio: 'ignore' });
  onTestFinished(() => void child.kill('SIGKILL'));
  const [code] = (await once(child, 'close')) as [number | null];
  return code;
}

describe('an agent', () => {
  test(`that gets no connection ${shows('agent.connect')}`, async () => {
    const published = `--connect-timeout ${seconds('agent.connect')} `;
    expect(SCRIPT).toContain(published);
    const script = post(SCRIPT.replace(published, '--connect-timeout 1 '));
    const url = `SPILLWAY_URL=http://127.0.0.1:${await fullHouse()}`;
    expect(await run(`${url}\n${script}\npost / /dev/null /dev/null /tmp/none 600`)).toBe(TIMED_OUT);
  });

  const calls = [
    [`"$state/answer" ${seconds('agent.register')} &`, 'post /agent/v1/register'],
    [`"$state/log" ${seconds('agent.log')} &`, '/log?attempt='],
    [`limit=$(($1 + ${seconds('agent.report')}))`, 'post /agent/v1/heartbeat'],
  ] as const;
  test.each(calls)(
    `that gets no answer, by the number in %s ${shows(['agent.register', 'agent.log', 'agent.report'])}`,
    async (published, call) => {
      expect(SCRIPT).toContain(published);
      expect(SCRIPT).toContain(call);
      const { port } = await blackHole();
      const url = `SPILLWAY_URL=http://127.0.0.1:${port}`;
      expect(await run(`${url}\n${post(SCRIPT)}\npost / /dev/null /dev/null /tmp/none 1`)).toBe(TIMED_OUT);
    },
  );

  test(`that gets no answer from the instance metadata ${shows('agent.imds')}`, async () => {
    const published = ` -m ${seconds('agent.imds')} -D "$state/imds.head"`;
    expect(SCRIPT).toContain(published);
    const { port } = await blackHole();
    const script = functionOf(SCRIPT.replace(published, ' -m 1'), 'imds').replace('"$state/imds.body"', '/dev/null');
    expect(await run(`client=curl\n${script}\nimds /dev/null http://127.0.0.1:${port}/latest/api/token`)).toBe(
      TIMED_OUT,
    );
  });

  test(`whose probe does not end ${shows('agent.probe')}`, async () => {
    const published = `timeout -s KILL ${seconds('agent.probe')} sh -c "$SPILLWAY_PROBE"`;
    expect(SCRIPT).toContain(published);
    const probe = functionOf(SCRIPT.replace(published, 'timeout -s KILL 1 sh -c "$SPILLWAY_PROBE"'), 'probe_others')
      .replace('"$state/probe" 2>', '/dev/null 2>')
      .replace('await\n', 'wait "$child"; client_rc=$?\n');
    const code = await run(`SPILLWAY_PROBE='sleep 600'\n${probe}\nprobe_others\n[ "$others" = unknown ]`);
    expect(code).toBe(0);
  });

  test(`in the cloud that is not heard ${shows('agent.dead-man')}`, () => {
    // That the script keeps to the number it is given is shown in test/agent; here, that this number is the default.
    expect(DEAD_MAN_DEFAULT.afterMs).toBe(waitMs('agent.dead-man'));
  });
});
