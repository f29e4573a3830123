/** What an agent costs the machine it runs on: memory with all its children, and CPU per report, on each shell with each client. */
import { spawn, type ChildProcess } from 'node:child_process';
import { access, constants, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { createServer, type RequestListener, type Server } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { makeSelfSigned } from '../test/support/certificate.ts';
import { makeFigure, type Bench, type BenchContext, type Figure } from './support/bench.ts';
import { describeMachine, readTreeCpuMs } from './support/machine.ts';
import { quantile } from './support/stats.ts';

const SCRIPT = fileURLToPath(new URL('../src/agent/spillway-agent.sh', import.meta.url));
const SHELLS = ['dash', 'busybox ash', 'bash'] as const;
const CLIENTS = ['curl', 'wget'] as const;
/** What the agent says it needs, and nothing else, so that it is the shell's own tools that are measured. */
const TOOLS = ['base64', 'head', 'mkdir', 'rm', 'setsid', 'sleep', 'tail', 'timeout', 'uname'];
/** Ten times the default rate: the kernel counts CPU in hundredths of a second, which few reports would drown in. */
const INTERVAL_S = 1;
const DEFAULT_INTERVAL_S = 10;
const WARM_UP_MS = 3000;
const SPAN_MS = 20_000;
const SAMPLE_MS = 100;

export const agent: Bench = {
  name: 'agent',
  about: 'memory and CPU of the sh agent, on each shell with each client',
  async run(context) {
    const plain = await startService(false);
    const secure = await startService(true);
    try {
      const figures: Figure[] = [];
      for (const shell of SHELLS) {
        for (const client of CLIENTS) {
          for (const mode of ['quiet', 'held'] as const)
            figures.push(...(await measure(context, plain, { shell, client, mode })));
        }
      }
      for (const client of CLIENTS)
        figures.push(...(await measure(context, secure, { shell: 'dash', client, mode: 'quiet' })));
      return figures;
    } finally {
      for (const { server } of [plain, secure]) {
        server.closeAllConnections();
        server.close();
      }
    }
  },
};

interface Setting {
  readonly shell: (typeof SHELLS)[number];
  readonly client: (typeof CLIENTS)[number];
  /** quiet = it asks once per interval and sleeps, as five minutes after its last work; held = its answers are held. */
  readonly mode: 'quiet' | 'held';
}

interface Service {
  readonly server: Server;
  readonly url: string;
  /** The CA that the agent is told to believe alone; null = http. */
  readonly caPem: string | null;
  readonly reports: () => number;
}

/** Answers as the service does for an agent without work: at once, or after as long as the agent is content to wait. */
async function startService(isSecure: boolean): Promise<Service> {
  let reports = 0;
  const timing = `interval ${INTERVAL_S}\nlease 60\n`;
  const own = isSecure ? makeSelfSigned('spillway-bench') : null;
  const answer: RequestListener = (request, response) => {
    void (async () => {
      let body = '';
      for await (const chunk of request) body += String(chunk);
      response.setHeader('content-type', 'text/plain; charset=utf-8');
      if (request.url === '/agent/v1/register') {
        response.end(`agent ag-000000000001\ntoken ${'0'.repeat(64)}\n${timing}`);
        return;
      }
      reports += 1;
      await sleep(Number(/^wait (\d+)$/m.exec(body)?.[1] ?? 0) * 1000);
      response.end(`${timing}uncordon 0\n`);
    })().catch(() => response.destroy());
  };
  const server =
    own === null ? createServer(answer) : createTlsServer({ key: own.keyPem, cert: own.certificatePem }, answer);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const url = `${own === null ? 'http' : 'https'}://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return { server, url, caPem: own?.certificatePem ?? null, reports: () => reports };
}

async function measure(context: BenchContext, service: Service, setting: Setting): Promise<Figure[]> {
  const { shell, client, mode } = setting;
  const folder = await mkdtemp(join(tmpdir(), 'spillway-bench-agent-'));
  const process = await start(folder, service, setting);
  if (process === null) {
    context.progress(`${shell} with ${client}: not on this machine, left out`);
    await rm(folder, { recursive: true, force: true });
    return [];
  }
  const pid = process.pid ?? 0;
  try {
    context.progress(`${shell} with ${client}, ${mode}${service.caPem === null ? '' : ', https'}`);
    await sleep(WARM_UP_MS, undefined, { signal: context.signal });
    const before = { cpuMs: await readTreeCpuMs(pid), reports: service.reports() };
    const pssKib: number[] = [];
    for (const endMs = performance.now() + SPAN_MS; performance.now() < endMs;) {
      pssKib.push(await readTreePssKib(pid));
      await sleep(SAMPLE_MS, undefined, { signal: context.signal });
    }
    const reports = service.reports() - before.reports;
    const eachMs = ((await readTreeCpuMs(pid)) - before.cpuMs) / reports;
    const name = `${shell.replace(' ', '-')}-${client}${service.caPem === null ? '' : '-https'}-${mode}`;
    const how = `${reports} reports, one a second; ${describeMachine()}`;
    const share = (100 * eachMs) / (DEFAULT_INTERVAL_S * 1000);
    return [
      makeFigure(
        'agent',
        `${name}-pss`,
        quantile(pssKib, 0.5) / 1024,
        'MiB',
        `with all children, median of ${pssKib.length}; ${how}`,
      ),
      makeFigure('agent', `${name}-cpu`, eachMs, 'ms', `CPU per report, children included; ${how}`),
      makeFigure(
        'agent',
        `${name}-core-share`,
        share,
        '%',
        `of one core at a report per ${DEFAULT_INTERVAL_S} s, from the CPU per report; ${how}`,
      ),
    ];
  } finally {
    await stop(process);
    await rm(folder, { recursive: true, force: true });
  }
}

async function start(folder: string, service: Service, setting: Setting): Promise<ChildProcess | null> {
  const { shell, client, mode } = setting;
  const bin = join(folder, 'bin');
  await mkdir(bin);
  const busybox = shell === 'busybox ash' ? await which('busybox') : null;
  const [shellPath, clientPath] = [busybox ?? (await which(shell)), await which(client)];
  if (shellPath === null || clientPath === null || (shell === 'busybox ash' && busybox === null)) return null;
  for (const tool of TOOLS) await symlink(busybox ?? (await which(tool)) ?? `/bin/${tool}`, join(bin, tool));
  await symlink(shellPath, join(bin, 'sh'));
  await symlink(clientPath, join(bin, client));
  const settings = [
    `SPILLWAY_URL=${service.url}`,
    `SPILLWAY_STATE_DIR=${join(folder, 'state')}`,
    `SPILLWAY_ENROL_TOKEN=${'1'.repeat(64)}`,
    `SPILLWAY_HOLD_S=${mode === 'held' ? 3600 : 0}`,
  ];
  if (service.caPem !== null) {
    await writeFile(join(folder, 'ca.pem'), service.caPem);
    settings.push(`SPILLWAY_CA_FILE=${join(folder, 'ca.pem')}`);
  }
  const file = join(folder, 'agent.env');
  await writeFile(file, `${settings.join('\n')}\n`, { mode: 0o600 });
  return spawn(join(bin, 'sh'), [SCRIPT, file], { env: { PATH: bin }, stdio: 'ignore' });
}

async function stop(process: ChildProcess): Promise<void> {
  if (process.exitCode !== null || process.signalCode !== null) return;
  const ended = new Promise((resolve) => process.once('exit', resolve));
  process.kill('SIGTERM');
  await ended;
}

async function which(program: string): Promise<string | null> {
  for (const folder of (process.env['PATH'] ?? '').split(delimiter)) {
    const path = join(folder, program);
    if (
      await access(path, constants.X_OK).then(
        () => true,
        () => false,
      )
    )
      return path;
  }
  return null;
}

/** What belongs to the process and everything below it alone, and its part of what it shares with others. */
async function readTreePssKib(root: number): Promise<number> {
  const parents = new Map<number, number>();
  for (const name of await readdir('/proc')) {
    const stat = /^\d+$/.test(name) ? await readFile(`/proc/${name}/stat`, 'utf8').catch(() => null) : null;
    if (stat !== null) parents.set(Number(name), Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]));
  }
  const isBelow = (pid: number): boolean => pid === root || (parents.has(pid) && isBelow(parents.get(pid) ?? 0));
  let kib = 0;
  for (const pid of [...parents.keys()].filter(isBelow)) {
    // One that has ended meanwhile has nothing any more.
    const rollup = await readFile(`/proc/${pid}/smaps_rollup`, 'utf8').catch(() => '');
    kib += Number(/^Pss:\s+(\d+) kB$/m.exec(rollup)?.[1] ?? 0);
  }
  return kib;
}
