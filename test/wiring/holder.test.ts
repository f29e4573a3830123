import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { describe, expect, test } from 'vitest';

import { isHolderGone, nameHolder } from '../../src/wiring/holder.ts';
import { randomIds } from '../support/clock.ts';

const HOLDER = new URL('../../src/wiring/holder.ts', import.meta.url).href;
const PROGRAM = `import { nameHolder } from '${HOLDER}'; console.log(nameHolder({ hex: () => 'beef' })); setInterval(() => {}, 1e6);`;

async function startHolder() {
  const child = spawn(process.execPath, ['--input-type=module', '-e', PROGRAM], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const [name] = (await once(child.stdout, 'data')) as [Buffer];
  return { child, name: name.toString().trim() };
}

describe('the name of a lease’s holder', () => {
  test('says that a process lives, also a stopped one, and that it is gone once it was killed', async () => {
    const { child, name } = await startHolder();
    try {
      expect(isHolderGone(name)).toBe(false);
      child.kill('SIGSTOP');
      expect(isHolderGone(name)).toBe(false);
    } finally {
      const exited = once(child, 'exit');
      child.kill('SIGKILL');
      await exited;
    }
    expect(isHolderGone(name)).toBe(true);
  });

  test('is not the name of a later process with the same number', () => {
    const [boot, namespace, pid, started, random] = nameHolder(randomIds).split('/');
    expect(isHolderGone([boot, namespace, pid, started, random].join('/'))).toBe(false);
    expect(isHolderGone([boot, namespace, pid, Number(started) - 1, random].join('/'))).toBe(true);
  });

  test.each([
    ['of another boot or machine', ['00000000-0000-0000-0000-000000000000', null, '999999', '1', 'x']],
    ['of another container', [null, 'pid:[1]', '999999', '1', 'x']],
    ['of an older version', ['12345-0123456789abcdef']],
    ['that makes no sense', [null, null, '-1', '1', 'x']],
  ])('%s tells nothing', (_, parts) => {
    const own = nameHolder(randomIds).split('/');
    expect(isHolderGone(parts.map((part, index) => part ?? own[index]).join('/'))).toBe(false);
  });

  test('is another one for each start', () => {
    expect(nameHolder(randomIds)).not.toBe(nameHolder(randomIds));
  });
});
