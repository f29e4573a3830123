import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ANYWHERE } from '../../src/model/constraints.ts';
import { taskQueueName } from '../../src/engine/queue-name.ts';
import { renderTaskScript } from '../../src/engine/script.ts';

/** Shells that a worker machine may have as `sh`. */
const SHELLS = [['/usr/bin/dash'], ['/usr/bin/bash', '--posix'], ['/usr/bin/busybox', 'sh']].filter(([file]) =>
  existsSync(file!),
);

/** What a program gets as arguments when the script is run; NUL ends each, because no argument can hold it. */
function argumentsOf(shell: readonly string[], words: readonly string[]): string[] {
  const [file = '', ...options] = shell;
  const script = renderTaskScript(['printf', String.raw`%s\0`, ...words]);
  const output = execFileSync(file, options, { input: script, encoding: 'utf8', maxBuffer: 2 ** 24 });
  return output.split('\0').slice(0, -1);
}

/** Every character but NUL; whole code points, because half a pair is no text. */
const word = fc.string({ unit: 'binary', maxLength: 40 }).map((text) => text.replaceAll('\0', ''));
const nasty = fc
  .array(
    fc.constantFrom(
      "'",
      '"',
      '\\',
      '$',
      '`',
      '\n',
      '\r',
      '\t',
      ' ',
      '!',
      '*',
      '~',
      '#',
      ';',
      '&',
      '|',
      '$(id)',
      '%',
      '-',
      '=',
    ),
    {
      maxLength: 12,
    },
  )
  .map((parts) => parts.join(''));

describe.each(SHELLS.map((shell) => ({ name: shell.join(' '), shell })))('a task script in $name', ({ shell }) => {
  test('hands over each word as it was written', () => {
    const words = [
      'plain',
      '',
      "it's",
      "'",
      "''",
      "'\\''",
      '"$HOME"',
      'a\nb\n',
      '\\',
      '*',
      '~',
      'ä€😀',
      '\u0001\u007f',
      '-n',
      '%s',
    ];

    expect(argumentsOf(shell, words)).toEqual(words);
  });

  test('hands over any words', () => {
    fc.assert(
      // At least one: printf without arguments prints its format once.
      fc.property(fc.array(fc.oneof(word, nasty), { minLength: 1, maxLength: 8 }), (words) => {
        expect(argumentsOf(shell, words)).toEqual(words);
      }),
      { numRuns: 60 },
    );
  });

  test('becomes the command: one process to signal and to wait for', () => {
    const [file = '', ...options] = shell;
    const script = renderTaskScript(['sh', '-c', 'echo $$ $PPID; exit 7']);
    let output = '';
    let code: unknown = 0;
    try {
      execFileSync(file, [...options, '-c', `echo $$; ${script}`], {
        encoding: 'utf8',
        stdio: ['ignore', 'pipe', 'pipe'],
      });
    } catch (error) {
      ({ stdout: output, status: code } = error as { stdout: string; status: number });
    }

    const [shellPid, taskPid] = output.split('\n').map((line) => line.split(' ')[0]);
    expect(taskPid).toBe(shellPid);
    expect(code).toBe(7);
  });
});

describe('the name of a queue', () => {
  test('tells workload, shape and constraints apart', () => {
    const shape = { cpuMilli: 1000, memoryMib: 1024, gpus: 0 };
    const names = [
      taskQueueName({ workload: 'a', shape, constraints: ANYWHERE }),
      taskQueueName({ workload: 'a', shape: { ...shape, memoryMib: 2048 }, constraints: ANYWHERE }),
      taskQueueName({ workload: 'a', shape: { ...shape, gpus: 1 }, constraints: ANYWHERE }),
      taskQueueName({ workload: 'a-1000c1024m', shape, constraints: ANYWHERE }),
      taskQueueName({ workload: 'b', shape, constraints: ANYWHERE }),
      taskQueueName({ workload: 'a', shape, constraints: { ...ANYWHERE, arch: 'arm64' } }),
      taskQueueName({ workload: 'a', shape, constraints: { ...ANYWHERE, arch: 'x86_64' } }),
      taskQueueName({ workload: 'a', shape, constraints: { ...ANYWHERE, localOnly: true } }),
      taskQueueName({ workload: 'a', shape, constraints: { ...ANYWHERE, spotOk: false } }),
    ];

    // The name of before there were GPUs and constraints: queues that exist go on being used.
    expect(names[0]).toBe('task-a-1000c1024m');
    expect(new Set(names).size).toBe(names.length);
  });
});
