import { AppError } from '../../model/errors.ts';
import { waitMs } from '../../model/waits.ts';
import type { AgentExplanation } from '../../ports/explanations.ts';
import type { Orderer } from '../../ports/machine-orders.ts';
import type { Shell, ShellLogin, ShellTarget, UploadFile } from '../../ports/shell.ts';
import type { ServiceClient } from '../service-client.ts';
import { INSTALL_SCRIPT } from './install-script.ts';

/** How often the service is asked whether an agent has reported. */
const LOOK_AGAIN_MS = 500;
const OUTPUT_BYTES_MAX = 64 * 1024;

/** A machine to put an agent on. */
export interface InstallHost {
  readonly user: string;
  readonly host: string;
  readonly port: number;
}

/** What is the same for all hosts of one command. */
export interface Installation {
  readonly shell: Shell;
  readonly service: ServiceClient;
  readonly script: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly orderer: Orderer;
  readonly login: ShellLogin;
  readonly knownHosts: string;
  /** PEM of the one CA that may vouch for the service; null = those of the host. */
  readonly caPem: string | null;
  readonly allowHttp: boolean;
  /** For the first report, after the agent was started. */
  readonly reportMs: number;
  readonly nowMs: () => number;
  sleep(ms: number): Promise<void>;
  /** Says what is going on. */
  tell(text: string): void;
}

export interface Installed {
  readonly agentId: string;
  /** `system`, `user` (systemd) or `none` (a session of its own, which does not come back after a reboot). */
  readonly manager: string;
}

/** Enrols one machine: token, files over SSH, start, first report. @throws AppError */
export async function installHost(on: Installation, host: InstallHost): Promise<Installed> {
  const target: ShellTarget = {
    ...host,
    trust: { kind: 'known', file: on.knownHosts },
    login: on.login,
    jumps: [],
    transport: 'ssh2',
  };
  const startedMs = on.nowMs();
  const output = await on.shell.withSession(target, waitMs('ssh.join'), async (session) => {
    // Only now: a host that cannot be logged in to costs no token.
    await session.upload(await filesFor(on, host));
    const result = await session.runScript(INSTALL_SCRIPT, {
      deadlineMs: waitMs('ssh.join'),
      outputBytesMax: OUTPUT_BYTES_MAX,
    });
    if (result.exitCode === 0) return result.output;
    throw new AppError('SSH_COMMAND', `the agent did not start on ${host.host}: ${result.output.trim().slice(-500)}`, {
      remedy: 'the last lines say why; install it again when that is mended',
    });
  });
  on.tell(`${host.host}: started, waiting for its first report`);
  return {
    agentId: await waitForReport(on, host.host, startedMs),
    manager: /^manager=(\w+)$/m.exec(output)?.[1] ?? 'none',
  };
}

interface Enrolment {
  readonly token: string;
  readonly agentUrl: string;
}

async function filesFor(on: Installation, { host }: InstallHost): Promise<UploadFile[]> {
  const ttlMs = 2 * waitMs('ssh.join');
  const { token, agentUrl } = await on.service.post<Enrolment>('Enrolment', '/v1/enrolments', {
    ...on.orderer,
    // What the agent will call itself: one that is there has the order in its history.
    installs: host,
    labels: on.labels,
    ttlMs,
  });
  // The agent reads these lines itself; none is ever run by a shell.
  const settings = [
    `SPILLWAY_URL=${agentUrl}`,
    `SPILLWAY_ALLOW_HTTP=${on.allowHttp ? 1 : 0}`,
    `SPILLWAY_ENROL_TOKEN=${token}`,
    `SPILLWAY_NAME=${host}`,
  ];
  return [
    { path: '.spillway-agent/agent.sh', content: on.script, mode: 0o700 },
    { path: '.spillway-agent/agent.settings', content: `${settings.join('\n')}\n`, mode: 0o600 },
    ...(on.caPem === null ? [] : [{ path: '.spillway-agent/ca.pem', content: on.caPem, mode: 0o600 }]),
  ];
}

/** An agent that was there before keeps its identity; its report must be newer than the start all the same. */
async function waitForReport(on: Installation, name: string, startedMs: number): Promise<string> {
  const path = `/v1/agents/${encodeURIComponent(name)}/explanation`;
  for (;;) {
    const agent = await findAgent(on.service, path);
    // Not heard of yet is as old as can be.
    const heardMs = (agent?.lastSeenAgeS ?? Number.POSITIVE_INFINITY) * 1000;
    if (agent !== null && heardMs <= on.nowMs() - startedMs) return agent.id;
    if (on.nowMs() - startedMs >= on.reportMs) {
      throw new AppError('TIMEOUT', `the agent on ${name} was started, and has not reported`, {
        remedy: 'see ~/.spillway-agent/agent.log (or journalctl) there: most often it cannot reach SPILLWAY_AGENT_URL',
      });
    }
    await on.sleep(LOOK_AGAIN_MS);
  }
}

async function findAgent(service: ServiceClient, path: string): Promise<AgentExplanation['agent'] | null> {
  try {
    const { agent, removedAt } = await service.get<AgentExplanation>('AgentExplanation', path);
    return removedAt === null ? agent : null;
  } catch (error) {
    if (error instanceof AppError && error.code === 'NOT_FOUND') return null;
    throw error;
  }
}
