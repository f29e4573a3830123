import { describe, expect, test } from 'vitest';
import { parseAgentsSpec, readAgentsFile } from '../../src/backtest/agents-spec.ts';
import { readCatalogueCsv } from '../../src/backtest/catalogue.ts';
import { readTrace } from '../../src/backtest/trace.ts';
import { AppError } from '../../src/model/errors.ts';

function refusal(read: () => unknown): string {
  try {
    read();
  } catch (error) {
    if (error instanceof AppError) return `${error.code} ${error.message}`;
    throw error;
  }
  return 'nothing was refused';
}

const HEADER = 'submit_s,run_s,cores,mem_mb,gpus,queue';

describe('a CSV job log', () => {
  test('is read by the names of its columns, in order of submission', () => {
    const { tasks, skipped } = readTrace(
      'queue,cores,submit_s,run_s,mem_mb,gpus\nslow,2,60,30,4096,0\nfast,1.5,5,10.5,100,0.22\n',
      'log.csv',
    );
    expect(skipped).toBe(0);
    expect(tasks).toEqual([
      { submitS: 5, runS: 10.5, need: { cpuMilli: 1500, memoryMib: 100, gpuMilli: 220 }, queue: 'fast' },
      { submitS: 60, runS: 30, need: { cpuMilli: 2000, memoryMib: 4096, gpuMilli: 0 }, queue: 'slow' },
    ]);
  });

  test('counts memory that is not known as 2 GiB per core', () => {
    const { tasks } = readTrace(`${HEADER}\n0,10,3,-1,-1,\n`, 'log.csv');
    expect(tasks[0]?.need).toEqual({ cpuMilli: 3000, memoryMib: 6144, gpuMilli: 0 });
  });

  test('leaves out, and counts, tasks of which neither run time nor cores are known', () => {
    const { tasks, skipped } = readTrace(`${HEADER}\n0,-1,3,-1,0,\n1,10,-1,-1,0,\n2,10,1,-1,0,\n`, 'log.csv');
    expect([tasks.length, skipped]).toEqual([1, 2]);
  });

  test('takes Windows line ends, a byte order mark and empty lines', () => {
    expect(readTrace(`\uFEFF${HEADER}\r\n\r\n0,10,1,-1,0,a\r\n`, 'log.csv').tasks).toHaveLength(1);
  });

  test.each([
    ['', 'log.csv, line 1: the file is empty'],
    ['submit_s,run_s,cpus\n', 'line 1: there is no column "cpus"'],
    ['submit_s,run_s\n0,1\n', 'line 1: the header lacks cores'],
    ['submit_s,run_s,cores,cores\n', 'line 1: the column "cores" is there twice'],
    [`${HEADER}\n0,10,1,-1,0,a\n0,ten,1,-1,0,a\n`, 'line 3: run_s "ten" is not a number'],
    [`${HEADER}\n0,1e9,1,-1,0,a\n`, 'line 2: run_s "1e9" is not a number'],
    [`${HEADER}\n0,10,-2,-1,0,a\n`, 'line 2: cores "-2" is not a number'],
    [`${HEADER}\n-1,10,1,-1,0,a\n`, 'line 2: submit_s must be known'],
    [`${HEADER}\n0,10,1\n`, 'line 2: 3 values where the header has 6 columns'],
    [`${HEADER}\n${'9'.repeat(5000)}\n`, 'line 2: longer than 4096 characters'],
  ])('is refused with the number of the line: %j', (text, message) => {
    expect(refusal(() => readTrace(text, 'log.csv'))).toMatch(/^INPUT_INVALID /);
    expect(refusal(() => readTrace(text, 'log.csv'))).toContain(message);
  });

  test('with mistakes everywhere is told about the first ones only', () => {
    const text = `${HEADER}\n${'x,x,x,x,x,x\n'.repeat(1000)}`;
    expect(refusal(() => readTrace(text, 'log.csv'))).toMatch(/; and more$/);
  });
});

describe('an SWF job log', () => {
  const job = (fields: Readonly<Record<number, number>>): string =>
    Array.from({ length: 18 }, (_, at) => fields[at + 1] ?? -1).join(' ');

  test('is known by its content, with memory per processor in KiB', () => {
    const text = `; Version: 2.2\n;\n${job({ 1: 1, 2: 100, 4: 60, 5: 4, 7: 1_048_576, 15: 2 })}\n`;
    expect(readTrace(text, 'log.swf').tasks).toEqual([
      { submitS: 100, runS: 60, need: { cpuMilli: 4000, memoryMib: 4096, gpuMilli: 0 }, queue: 'q2' },
    ]);
  });

  test('falls back on the requested processors, and skips jobs that never ran', () => {
    const text = [job({ 1: 1, 2: 0, 4: 60, 8: 3 }), job({ 1: 2, 2: 5, 4: 0, 5: 3 })].join('\n');
    const { tasks, skipped } = readTrace(text, 'log.swf');
    expect(tasks.map(({ need }) => need)).toEqual([{ cpuMilli: 3000, memoryMib: 6144, gpuMilli: 0 }]);
    expect(skipped).toBe(1);
  });

  test('is refused with the number of the line', () => {
    expect(refusal(() => readTrace(`;\n${job({ 2: 0, 4: 1, 5: 1 })}\n1 2 3\n`, 'log.swf'))).toContain(
      'line 3: 3 fields where SWF has eighteen',
    );
  });
});

describe('local agents', () => {
  test('are counted from a spec with cores, memory and GPUs', () => {
    const agents = parseAgentsSpec('2x96c768g8gpu,1x32c256g');
    expect(agents).toEqual([
      { cpuMilli: 96_000, memoryMib: 786_432, gpuMilli: 8000 },
      { cpuMilli: 96_000, memoryMib: 786_432, gpuMilli: 8000 },
      { cpuMilli: 32_000, memoryMib: 262_144, gpuMilli: 0 },
    ]);
  });

  test('have 2 GiB per core when a spec does not say, and may be none', () => {
    expect(parseAgentsSpec('16c')).toEqual([{ cpuMilli: 16_000, memoryMib: 32_768, gpuMilli: 0 }]);
    expect(parseAgentsSpec('none')).toEqual([]);
  });

  test.each(['', '60x', 'x16c', '60x16', '0c', '60x16c64', '16c,,4c', '999999x1c,999999x1c'])(
    'are refused as %j',
    (spec) => {
      expect(refusal(() => parseAgentsSpec(spec))).toMatch(/^USAGE /);
    },
  );

  test('are read from a file, one a line or with a count', () => {
    const text = 'node,cores,mem_mb,gpus,count\na,32,262144,,2\nb,8,1024,2,1\n';
    expect(readAgentsFile(text, 'agents.csv')).toEqual([
      { cpuMilli: 32_000, memoryMib: 262_144, gpuMilli: 0 },
      { cpuMilli: 32_000, memoryMib: 262_144, gpuMilli: 0 },
      { cpuMilli: 8000, memoryMib: 1024, gpuMilli: 2000 },
    ]);
    expect(refusal(() => readAgentsFile('cores,mem_mb\n8,much\n', 'agents.csv'))).toContain('line 2: mem_mb "much"');
  });
});

describe('a catalogue', () => {
  const header = 'instance_type,vcpus,memory_mib,gpus,arch,on_demand_usd_per_hour,spot_usd_per_hour';

  test('gives types with their family, what is burstable and an average spot price', () => {
    const text = `${header}\nt3.large,2,8192,0,x86_64,0.0832,\ng4dn.xlarge,4,16384,1,x86_64,0.526,0.21\nm9.large,2,8192,0,arm64,,\n`;
    expect(readCatalogueCsv(text, 'prices.csv')).toEqual([
      {
        name: 't3.large',
        capacity: { cpuMilli: 2000, memoryMib: 8192, gpuMilli: 0 },
        priceUsdPerHour: 0.0832,
        family: 't3',
        arch: 'x86_64',
        burstable: true,
        spotUsdPerHour: null,
      },
      {
        name: 'g4dn.xlarge',
        capacity: { cpuMilli: 4000, memoryMib: 16_384, gpuMilli: 1000 },
        priceUsdPerHour: 0.526,
        family: 'g4dn',
        arch: 'x86_64',
        burstable: false,
        spotUsdPerHour: 0.21,
      },
    ]);
  });

  test.each([
    ['c5.large,2,4096,0,x86_64,0.085,\nc5.large,2,4096,0,x86_64,0.085,', 'line 3: c5.large is there twice'],
    ['c5 large,2,4096,0,x86_64,0.085,', 'is not the name of an instance type'],
    ['c5.large,2,4096,0,sparc,0.085,', 'arch "sparc"'],
    ['c5.large,two,4096,0,x86_64,0.085,', 'vcpus "two"'],
    ['c5.large,2,4096,0,x86_64,-1,', 'on_demand_usd_per_hour "-1"'],
  ])('is refused with the number of the line: %s', (lines, message) => {
    expect(refusal(() => readCatalogueCsv(`${header}\n${lines}\n`, 'prices.csv'))).toContain(message);
  });

  test('in another currency is refused, not read as dollars', () => {
    expect(
      refusal(() => readCatalogueCsv('instance_type,vcpus,memory_mib,gpus,arch,on_demand_cny_per_hour\n', 'cn.csv')),
    ).toContain('on_demand_cny_per_hour');
  });
});
