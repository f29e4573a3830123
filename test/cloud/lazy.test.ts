import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { expect, test } from 'vitest';

const MODULE = join(import.meta.dirname, '../../src/cloud/ec2.ts');

/** Whether a fresh Node has loaded anything of the SDK after running `code`, with `create` = createEc2Cloud. */
function isSdkLoadedAfter(code: string): string {
  const script = `
    import { createRequire } from 'node:module';
    import { createEc2Cloud as create } from ${JSON.stringify(MODULE)};
    const clock = { nowMs: () => 0, monotonicMs: () => 0, sleep: () => Promise.resolve() };
    ${code}
    console.log(Object.keys(createRequire(${JSON.stringify(MODULE)}).cache).some((file) => file.includes('client-ec2')));`;
  const options = { encoding: 'utf8', timeout: 15_000, cwd: join(import.meta.dirname, '../..') } as const;
  return execFileSync(process.execPath, ['--input-type=module', '-e', script], options).trim();
}

test('the SDK is loaded when a cloud is made, not when the module is imported', () => {
  expect(isSdkLoadedAfter('')).toBe('false');
  expect(isSdkLoadedAfter('await create({ clock });')).toBe('true');
});
