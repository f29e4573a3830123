import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { openPolicies } from '../../src/wiring/policies.ts';
import { recordingLog } from '../support/log.ts';

let folder = '';
let text = '';
const log = recordingLog();
const fullLog = { ...log, debug: () => undefined };

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'spillway-policies-'));
  const key = join(folder, 'id_ed25519');
  await writeFile(key, 'a key', { mode: 0o600 });
  text = minimal(key);
  await writeFile(join(folder, 'render.yaml'), text);
  log.lines.length = 0;
});
afterEach(async () => {
  await rm(folder, { recursive: true, force: true });
});

function minimal(identity: string): string {
  return `apiVersion: spillway.dev/v1
kind: WorkloadPolicy
metadata: { name: render }
spec:
  agents: { selector: { pool: media } }
  demand:
    queue: { source: bullmq, name: render, task: { cpu: 2, memory: 4GiB }, maxWait: 90s }
  burst:
    region: eu-central-1
    subnets: [subnet-0a1b2c3d]
    image: { x86_64: ami-01234567 }
    instances: { cpu: 4..32 }
    limits: { max: 40 }
    budget: { hourly: 40 }
  join:
    ssh: { user: ubuntu, identity: { file: ${identity} } }
`;
}

describe('policies', () => {
  test('are read at the start, by workload', async () => {
    const book = await openPolicies({ path: folder, heartbeatIntervalMs: 1000, log: fullLog });
    expect(book.current().map(({ policy }) => policy.name)).toEqual(['render']);
    expect(book.byWorkload().get('render')?.burst.limits.max).toBe(40);
    expect(book.current()[0]?.hash).toMatch(/^[0-9a-f]{64}$/);
  });

  test('that are not valid stop the start, with file and line', async () => {
    await writeFile(join(folder, 'render.yaml'), text.replace('max: 40', 'max: many'));
    await expect(openPolicies({ path: folder, heartbeatIntervalMs: 1000, log: fullLog })).rejects.toMatchObject({
      code: 'POLICY_INVALID',
      message: expect.stringMatching(/render\.yaml:13:\d+/) as string,
    });
  });

  test('whose folder is missing stop the start', async () => {
    await expect(
      openPolicies({ path: join(folder, 'nowhere'), heartbeatIntervalMs: 1000, log: fullLog }),
    ).rejects.toMatchObject({ code: 'POLICY_UNREADABLE' });
  });

  test('are replaced as a whole by a reload', async () => {
    const book = await openPolicies({ path: folder, heartbeatIntervalMs: 1000, log: fullLog });
    const before = book.current()[0]?.hash;
    await writeFile(join(folder, 'render.yaml'), text.replace('max: 40', 'max: 7'));
    await writeFile(join(folder, 'bake.yaml'), text.replaceAll('render', 'bake'));
    expect(await book.reload()).toBe(true);
    expect([...book.byWorkload().keys()].sort()).toEqual(['bake', 'render']);
    expect(book.byWorkload().get('render')?.burst.limits.max).toBe(7);
    expect(book.current().find(({ policy }) => policy.name === 'render')?.hash).not.toBe(before);
  });

  test.each([
    ['one of them is not valid', async () => await writeFile(join(folder, 'bake.yaml'), 'kind: Nonsense\n')],
    ['the folder is gone', async () => await rm(folder, { recursive: true })],
  ])('stay in force when %s at a reload, and the error is told', async (_when, change) => {
    const book = await openPolicies({ path: folder, heartbeatIntervalMs: 1000, log: fullLog });
    const before = book.current();
    await change();
    expect(await book.reload()).toBe(false);
    expect(book.current()).toBe(before);
    expect(book.byWorkload().has('render')).toBe(true);
    expect(log.lines.filter(({ level }) => level === 'error')).toHaveLength(1);
  });

  test('are forgotten when their file is', async () => {
    const book = await openPolicies({ path: folder, heartbeatIntervalMs: 1000, log: fullLog });
    expect(await readFile(join(folder, 'render.yaml'), 'utf8')).toBe(text);
    await rm(join(folder, 'render.yaml'));
    expect(await book.reload()).toBe(true);
    expect(book.current()).toEqual([]);
  });

  test('are refused when their freshness is shorter than two heartbeats: every agent would look silent', async () => {
    // The policy's own freshness is 30 s by default.
    await expect(openPolicies({ path: folder, heartbeatIntervalMs: 20_000, log: fullLog })).rejects.toMatchObject({
      code: 'POLICY_INVALID',
      remedy: 'write at least 40s, or lower SPILLWAY_HEARTBEAT_INTERVAL',
    });
  });
});
