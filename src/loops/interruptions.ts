/**
 * Spot machines that EC2 has marked, told by EC2 itself. An agent of ours reads the notice on its machine within seconds; this is for
 * machines whose agent does not speak, or that work for another engine. One short listing per region and sweep, however large the
 * fleet: EC2 names only those that are marked.
 */
import { AppError } from '../model/errors.ts';
import type { EpochMs } from '../model/time.ts';
import type { CloudInstance, InstanceListing } from '../ports/cloud.ts';
import type { LoopPorts } from './ports.ts';
import { ringFor } from './ring.ts';

/** A region as it was just listed. */
interface Listed {
  readonly region: string;
  readonly listing: InstanceListing;
}

/**
 * Gives each marked machine the order that a notice of its agent gives. Returns what kept it from looking: the rest of the sweep does
 * not wait for it, and the next sweep looks again.
 */
export async function noteMarked(ports: LoopPorts, looks: readonly Listed[]): Promise<AppError | null> {
  let failure: AppError | null = null;
  for (const { region, listing } of looks) {
    if (!listing.instances.some(isLiveSpot)) continue;
    try {
      await noteMarkedIn(ports, region, await ports.cloud.listInterruptions(region, ports.owner));
    } catch (error) {
      if (!(error instanceof AppError)) throw error;
      failure ??= error;
    }
  }
  return failure;
}

function isLiveSpot({ market, state }: CloudInstance): boolean {
  return market === 'spot' && (state === 'pending' || state === 'running');
}

async function noteMarkedIn(ports: LoopPorts, region: string, marked: ReadonlyMap<string, EpochMs>): Promise<void> {
  if (marked.size === 0) return;
  const machines = await ports.sweeping.findUnnoticed([...marked.keys()]);
  for (const { id, instanceId, agentId } of machines) {
    const endMs = marked.get(instanceId);
    if (endMs === undefined || !(await ports.interruptions.noteInterruption(id, endMs))) continue;
    const facts = { region, machineId: id, instanceId, endsAt: new Date(endMs).toISOString() };
    ports.log.warn(facts, 'EC2 has marked a spot machine for termination; it drains');
    await ringFor(ports, [{ kind: 'machine', id }]);
    if (agentId !== null) ports.notifyAgents([agentId]);
  }
}
