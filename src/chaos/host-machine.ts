import type { Resources } from '../model/resources.ts';
import type { CommandResult } from '../ports/shell.ts';
import type { InstanceView, Region } from '../simulator/region.ts';

/** The files of a host that a join has put there, by their path. */
export type HostFiles = Map<string, string>;

/** The instance whose host answers at an address: it runs and has booted. */
export function instanceAt(regions: Iterable<Region>, address: string): InstanceView | null {
  for (const region of regions) {
    const found = region
      .instances()
      .find(({ privateIp, state, bootedAtMs }) => privateIp === address && state === 'running' && bootedAtMs !== null);
    if (found !== undefined) return found;
  }
  return null;
}

/** True while there is a machine under what runs on it: nothing outlives a stop, though the machine may start again. */
export function isPowered(
  regions: Iterable<Region>,
  { instanceId, startedAtMs }: Pick<InstanceView, 'instanceId' | 'startedAtMs'>,
): boolean {
  for (const region of regions) {
    const found = region.findInstance(instanceId);
    if (found !== null) return found.state === 'running' && found.startedAtMs === startedAtMs;
  }
  return false;
}

/** The key reached the host through user-data, as cloud-init would install it. */
export function hasHostKey({ userData }: InstanceView, hostKey: string): boolean {
  return Buffer.from(userData ?? '', 'base64')
    .toString('utf8')
    .includes(hostKey);
}

/** Whether a script is the one that joins, and not a command of the policy. */
export function isJoin(script: string): boolean {
  return script.includes('agent.pid');
}

/** The token with which the agent will register; null where nothing was uploaded, or the join has read it. */
export function enrolmentIn(files: HostFiles): string | null {
  return /^SPILLWAY_ENROL_TOKEN=(.+)$/m.exec(files.get('.spillway/agent.settings') ?? '')?.[1] ?? null;
}

/** That token. As the script does, it is read once. */
export function takeEnrolment(files: HostFiles): string | null {
  const token = enrolmentIn(files);
  if (token === null) return null;
  files.delete('.spillway/agent.settings');
  return token;
}

/** What the agent of an instance offers: some of the memory is the system's. */
export function agentCapacity({ vcpus, memoryMib, gpus }: InstanceView): Resources {
  return { cpuMilli: vcpus * 1000, memoryMib: memoryMib - 512, gpus };
}

export function commandResult(exitCode: number): CommandResult {
  return { exitCode, signal: null, output: exitCode === 0 ? '' : `exit ${exitCode}`, truncated: false };
}
