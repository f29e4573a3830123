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
import { waitMs, type WaitName } from '../../src/model/waits.ts';
import { blackHole, fullHouse, shows } from '../support/waits.ts';

const SCRIPT = readFileSync(fileURLToPath(new URL('../../src/agent/spillway-agent.sh', import.meta.url)), 'utf8');
/** curl: a time-out ran out. */
const TIMED_OUT = 28;

const seconds = (name: WaitName): number => waitMs(name) / 1000;

/** The function of the script that calls the service, with everything it needs. */
function post(text: string): string {
  const start = text.indexOf('post() {');
  return `client=curl limiter=\n${text.slice(start, text.indexOf('\n}\n', start) + 3)}`;
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
});
