import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { shows } from '../support/waits.ts';

const WATCHDOG = fileURLToPath(new URL('../../src/wiring/watchdog.ts', import.meta.url));

/** Runs a script in a process of its own, because what is watched for ends the whole process. */
async function ending(script: string): Promise<{ readonly how: number | string | null; readonly stderr: string }> {
  const source = `import { startWatchdog } from ${JSON.stringify(WATCHDOG)};\n${script}`;
  const child = spawn(process.execPath, ['--input-type=module', '--eval', source], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let stderr = '';
  child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
  const [code, signal] = (await once(child, 'close')) as [number | null, NodeJS.Signals | null];
  return { how: signal ?? code, stderr };
}

describe('the watchdog', () => {
  test(`ends a process whose event loop stands still, and says why ${shows('leader.stall')}`, async () => {
    const { how, stderr } = await ending('startWatchdog(300); setTimeout(() => { for (;;); }, 50);');

    expect(how).toBe('SIGKILL');
    expect(stderr).toContain('the event loop stood still for 300 ms');
  });

  test('leaves a process alone that is busy but turns, and does not keep one alive that is done', async () => {
    // Ten turns of 100 ms each, ten times what may pass between two turns in all.
    const busy = 'const until = (ms) => { for (const end = performance.now() + ms; performance.now() < end; ); };';
    const turns = 'let left = 10; const turn = () => { until(100); if ((left -= 1) > 0) setTimeout(turn); }; turn();';

    expect(await ending(`${busy} startWatchdog(1000); ${turns}`)).toEqual({ how: 0, stderr: '' });
  });

  test('that was stopped does nothing more', async () => {
    const script = `const dog = startWatchdog(200); await dog.stop(); const end = performance.now() + 500; while (performance.now() < end);`;

    expect(await ending(script)).toEqual({ how: 0, stderr: '' });
  });
});
