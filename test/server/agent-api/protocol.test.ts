import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { SCRIPT_BYTES_MAX } from '../../../src/ports/agent-gateway.ts';
import type { AgentOrders, RunOrder } from '../../../src/ports/agent-gateway.ts';
import {
  BODY_BYTES_MAX,
  encodeOrders,
  encodeRegistered,
  hasNews,
  parseHeartbeat,
  parseRegistration,
} from '../../../src/server/agent-api/protocol.ts';

const BOOT = '0f8b6a52-3d1c-4a57-9a39-0123456789ab';
const REGISTRATION = `protocol 1\nname host-1.example\nboot ${BOOT}\ncapacity 8000 16384\nlabel pool media\nlabel rack a1\n`;
const TASK = 'tk-0123456789ab';

const QUIET: AgentOrders = {
  timing: { intervalS: 10, leaseS: 60 },
  cordon: { cordoned: false, generation: 0 },
  run: [],
  stop: [],
  ack: [],
  leave: false,
};

function heartbeat(...lines: readonly string[]): string {
  return [`boot ${BOOT}`, 'seq 7', 'capacity 8000 16384', ...lines, ''].join('\n');
}

describe('parseRegistration', () => {
  test('reads what an agent says about itself', () => {
    expect(parseRegistration(REGISTRATION)).toEqual({
      ok: true,
      value: {
        name: 'host-1.example',
        bootId: BOOT,
        capacity: { cpuMilli: 8000, memoryMib: 16384, gpus: 0 },
        arch: null,
        labels: { pool: 'media', rack: 'a1' },
      },
    });
  });

  test('reads GPUs and architecture, in any order', () => {
    const body = REGISTRATION.replace('capacity', 'gpus 8\narch arm64\ncapacity');
    expect(parseRegistration(body)).toMatchObject({
      ok: true,
      value: { capacity: { cpuMilli: 8000, memoryMib: 16384, gpus: 8 }, arch: 'arm64' },
    });
  });

  test.each([
    ['too many GPUs to be true', `${REGISTRATION}gpus 1025\n`, 7, 'whole number from 0 to 1024'],
    ['a part of a GPU', `${REGISTRATION}gpus 0.5\n`, 7, 'whole number'],
    ['an architecture nobody builds for', `${REGISTRATION}arch mips\n`, 7, 'x86_64 or arm64'],
    ['an empty body', '', 1, 'protocol is missing'],
    ['another protocol', REGISTRATION.replace('protocol 1', 'protocol 2'), 1, 'speaks protocol 1'],
    ['a missing name', REGISTRATION.replace('name host-1.example\n', ''), 6, 'name is missing'],
    ['a name twice', `${REGISTRATION}name b\n`, 7, 'name came twice'],
    ['a name with a space', REGISTRATION.replace('host-1.example', 'host 1'), 2, 'wrong number of words'],
    ['a name with markup', REGISTRATION.replace('host-1.example', '<b>'), 2, 'not a host name'],
    ['no capacity at all', REGISTRATION.replace('8000', '0'), 4, 'whole number'],
    ['an absurd capacity', REGISTRATION.replace('8000', '9999999999'), 4, 'whole number'],
    ['a negative capacity', REGISTRATION.replace('8000', '-1'), 4, 'whole number'],
    ['a hexadecimal capacity', REGISTRATION.replace('8000', '0x10'), 4, 'whole number'],
    ['a label twice', `${REGISTRATION}label pool other\n`, 7, 'label twice'],
    ['a label without a value', `${REGISTRATION}label pool\n`, 7, 'wrong number of words'],
    ['an unknown word', `${REGISTRATION}colour blue\n`, 7, 'unknown word "colour"'],
    ["a word of Object's", `${REGISTRATION}constructor x\n`, 7, 'unknown word "constructor"'],
    ['a carriage return', REGISTRATION.replace('\n', '\r\n'), 1, 'speaks protocol 1'],
    ['a last line that does not end', REGISTRATION.slice(0, -1), 6, 'does not end'],
  ])('refuses %s and names the line', (_what, body, line, message) => {
    const parsed = parseRegistration(body);
    expect(parsed).toMatchObject({ ok: false, error: { line } });
    expect(parsed.ok ? '' : parsed.error.message).toContain(message);
  });

  test('refuses more labels than a row should hold', () => {
    const labels = Array.from({ length: 65 }, (_, index) => `label k${index} v\n`).join('');
    expect(parseRegistration(REGISTRATION + labels)).toMatchObject({ ok: false });
  });
});

describe('parseHeartbeat', () => {
  test('reads every word', () => {
    const body = heartbeat(
      'gpus 2',
      'arch x86_64',
      'used 512 1024',
      'cordon 3',
      'wait 10',
      `task ${TASK} 2 running aGVsbG8=`,
      `task ${TASK} 1 exited 137`,
    );
    expect(parseHeartbeat(body)).toEqual({
      ok: true,
      value: {
        waitSeconds: 10,
        report: {
          bootId: BOOT,
          seq: 7,
          capacity: { cpuMilli: 8000, memoryMib: 16384, gpus: 2 },
          arch: 'x86_64',
          used: { cpuMilli: 512, memoryMib: 1024 },
          cordon: { cordoned: true, generation: 3 },
          leaving: false,
          tasks: [
            { taskId: TASK, attempt: 2, state: 'running', progressBase64: 'aGVsbG8=' },
            { taskId: TASK, attempt: 1, state: 'exited', exitCode: 137, progressBase64: null },
          ],
        },
      },
    });
  });

  test('takes what is left out as unknown, never as zero use', () => {
    expect(parseHeartbeat(heartbeat())).toMatchObject({
      ok: true,
      value: { waitSeconds: 0, report: { used: null, tasks: [], cordon: { cordoned: false, generation: 0 } } },
    });
  });

  test('holds no answer longer than 55 s whatever is asked', () => {
    expect(parseHeartbeat(heartbeat('wait 600'))).toMatchObject({ ok: true, value: { waitSeconds: 55 } });
  });

  test.each([
    ['a cordon and an uncordon', heartbeat('cordon 1', 'uncordon 1')],
    ['a task twice', heartbeat(`task ${TASK} 1 running`, `task ${TASK} 1 exited 0`)],
    ['an id that is none', heartbeat('task tk-../../etc/pas 1 running')],
    ["another kind's id", heartbeat('task ag-0123456789ab 1 running')],
    ['attempt 0', heartbeat(`task ${TASK} 0 running`)],
    ['an exit code above 255', heartbeat(`task ${TASK} 1 exited 256`)],
    ['an unknown state', heartbeat(`task ${TASK} 1 sleeping`)],
    ['progress that is not base64', heartbeat(`task ${TASK} 1 running a$b=`)],
    ['progress above 3 KiB', heartbeat(`task ${TASK} 1 running ${'A'.repeat(4100)}`)],
    ['two spaces', heartbeat(`task ${TASK}  1 running`)],
    ['a sequence number of 0', heartbeat().replace('seq 7', 'seq 0')],
    ['a fraction', heartbeat('used 0.5 1')],
    ['an agent id in the body', heartbeat('agent ag-0123456789ab')],
  ])('refuses %s', (_what, body) => {
    expect(parseHeartbeat(body)).toMatchObject({ ok: false });
  });
});

describe('whatever arrives', () => {
  const word = fc.constantFrom(
    'protocol',
    'name',
    'boot',
    'seq',
    'capacity',
    'gpus',
    'arch',
    'used',
    'cordon',
    'wait',
    'task',
    'label',
    'leaving',
    '__proto__',
  );
  const value = fc.oneof(
    fc.constantFrom(BOOT, TASK, '1', '0', 'running', 'exited', 'AAAA', '', '999999999999999999999'),
    fc.string({ maxLength: 12, unit: 'binary' }),
  );
  const line = fc.tuple(word, fc.array(value, { maxLength: 5 })).map(([first, rest]) => [first, ...rest].join(' '));
  const body = fc.oneof(
    fc.string({ unit: 'binary' }),
    fc.array(line, { maxLength: 12 }).map((lines) => `${lines.join('\n')}\n`),
  );

  test('is either understood whole or refused with a line, and nothing throws', () => {
    fc.assert(
      fc.property(body, (text) => {
        for (const parsed of [parseRegistration(text), parseHeartbeat(text)]) {
          if (parsed.ok) continue;
          expect(parsed.error.line).toBeGreaterThanOrEqual(1);
          expect(parsed.error.message.length).toBeLessThan(100);
        }
      }),
      { numRuns: 2000 },
    );
  });

  test('one changed character never turns a report into one with another meaning of its ids', () => {
    const whole = heartbeat('used 512 1024', 'uncordon 3', 'wait 10', `task ${TASK} 2 running aGVsbG8=`);
    fc.assert(
      fc.property(
        fc.nat(whole.length - 1),
        fc.string({ minLength: 1, maxLength: 1, unit: 'binary' }),
        (at, character) => {
          const parsed = parseHeartbeat(whole.slice(0, at) + character + whole.slice(at + 1));
          if (!parsed.ok) return;
          for (const task of parsed.value.report.tasks) expect(task.taskId).toMatch(/^tk-[0-9a-z]{12}$/);
          expect(Number.isSafeInteger(parsed.value.report.seq)).toBe(true);
        },
      ),
      { numRuns: 2000 },
    );
  });

  test('a body of the largest size is read in a blink', () => {
    const many = Array.from({ length: 1900 }, (_, index) => `task tk-${String(index).padStart(12, '0')} 1 running`);
    const text = heartbeat(...many);
    expect(text.length).toBeLessThanOrEqual(BODY_BYTES_MAX);
    const startedMs = performance.now();
    expect(parseHeartbeat(text)).toMatchObject({ ok: true });
    // About 2 ms here; a quadratic parser would need seconds.
    expect(performance.now() - startedMs).toBeLessThan(500);
  });
});

describe('an order to run', () => {
  const encoded = (gpus: number, progressBase64: string | null) => {
    const shape = { cpuMilli: 500, memoryMib: 64, gpus };
    const run = [{ taskId: TASK, attempt: 1, shape, script: ':', progressBase64 } as const];
    return encodeOrders({ ...QUIET, run })
      .split('\n')
      .at(-2);
  };

  test.each<[number, string | null, string]>([
    [0, null, ''],
    [0, 'AAAA', ' AAAA'],
    [2, null, ' - 2'],
    [2, 'AAAA', ' AAAA 2'],
  ])('for %d GPUs with progress %j ends with %j', (gpus, progress, end) => {
    expect(encoded(gpus, progress)).toBe(`run ${TASK} 1 500 64 Og==${end}`);
  });
});

describe('encodeOrders', () => {
  const order = (index: number, script: string): RunOrder => ({
    taskId: `tk-${String(index).padStart(12, '0')}`,
    attempt: 1,
    shape: { cpuMilli: 500, memoryMib: 64, gpus: 0 },
    script,
    progressBase64: 'AAAA',
  });

  test('writes every order in the order in which an agent obeys', () => {
    const orders: AgentOrders = {
      ...QUIET,
      cordon: { cordoned: true, generation: 4 },
      leave: true,
      run: [order(1, "exec 'true'\n")],
      stop: [{ taskId: 'tk-000000000002', attempt: 3 }],
      ack: [{ taskId: 'tk-000000000003', attempt: 1 }],
    };
    expect(encodeOrders(orders)).toBe(
      'interval 10\nlease 60\ncordon 4\nleave\nack tk-000000000003 1\nstop tk-000000000002 3\n' +
        'run tk-000000000001 1 500 64 ZXhlYyAndHJ1ZScK AAAA\n',
    );
  });

  test('leaves out whole orders that do not fit, and always has room for one of the largest', () => {
    const largest = 'x'.repeat(SCRIPT_BYTES_MAX);
    const text = encodeOrders({ ...QUIET, run: [order(1, largest), order(2, largest)] });
    expect(text.length).toBeLessThanOrEqual(BODY_BYTES_MAX);
    expect(text.match(/^run /gm)).toHaveLength(1);
    expect(text.endsWith(' AAAA\n')).toBe(true);
  });

  test('refuses to send a script that no answer can carry, or none', () => {
    expect(() => encodeOrders({ ...QUIET, run: [order(1, 'é'.repeat(SCRIPT_BYTES_MAX))] })).toThrow('out of bounds');
    expect(() => encodeOrders({ ...QUIET, run: [order(1, '')] })).toThrow('out of bounds');
  });

  test('answers a registration', () => {
    expect(encodeRegistered('ag-0123456789ab', 'feed', QUIET.timing)).toBe(
      'agent ag-0123456789ab\ntoken feed\ninterval 10\nlease 60\n',
    );
  });
});

describe('hasNews', () => {
  const parsed = parseHeartbeat(heartbeat('uncordon 3'));
  if (!parsed.ok) throw new Error('the sample must parse');
  const { report } = parsed.value;
  const cordonedReport = { ...report, cordon: { cordoned: true, generation: 4 } };

  test.each([
    ['nothing is wanted', QUIET, report, false],
    [
      'only the count of an old cordon differs',
      { ...QUIET, cordon: { cordoned: false, generation: 4 } },
      report,
      false,
    ],
    ['a cordon is new', { ...QUIET, cordon: { cordoned: true, generation: 4 } }, report, true],
    ['the cordon is obeyed', { ...QUIET, cordon: { cordoned: true, generation: 4 } }, cordonedReport, false],
    ['a newer cordon is asked for', { ...QUIET, cordon: { cordoned: true, generation: 5 } }, cordonedReport, true],
    ['the cordon is lifted', { ...QUIET, cordon: { cordoned: false, generation: 4 } }, cordonedReport, true],
    ['a task is to be stopped', { ...QUIET, stop: [{ taskId: TASK, attempt: 1 }] }, report, true],
    ['an exit is recorded', { ...QUIET, ack: [{ taskId: TASK, attempt: 1 }] }, report, true],
    ['it should leave', { ...QUIET, leave: true }, report, true],
  ] as const)('when %s', (_what, orders, said, expected) => {
    expect(hasNews(orders, said)).toBe(expected);
  });
});
