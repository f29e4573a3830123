import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { ServiceClient } from '../../src/commands/service-client.ts';

const SCRIPT = fileURLToPath(new URL('../../src/agent/spillway-agent.sh', import.meta.url));
const ENROLMENT_MS = 10 * 60_000;

/** A machine of the datacenter. */
export interface OnPremAgent {
  readonly name: string;
  readonly pool: string;
  readonly cpus: number;
  readonly memoryMib: number;
}

/** Asks the service for a place for an agent, and writes its settings into `folder`. @returns the arguments of its `sh` */
export async function enrolAgent(
  client: ServiceClient,
  agent: OnPremAgent,
  folder: string,
): Promise<readonly string[]> {
  const enrolment = await client.post<{ token: string; agentUrl: string }>('Enrolment', '/v1/enrolments', {
    labels: { pool: agent.pool },
    ttlMs: ENROLMENT_MS,
  });
  const settings = [
    `SPILLWAY_URL=${enrolment.agentUrl}`,
    `SPILLWAY_ENROL_TOKEN=${enrolment.token}`,
    `SPILLWAY_NAME=${agent.name}`,
    `SPILLWAY_STATE_DIR=${join(folder, agent.name)}`,
    `SPILLWAY_CPUS=${agent.cpus}`,
    `SPILLWAY_MEMORY_MIB=${agent.memoryMib}`,
    'SPILLWAY_USED=tasks',
  ];
  const file = join(folder, `${agent.name}.env`);
  await writeFile(file, `${settings.join('\n')}\n`, { mode: 0o600 });
  return [SCRIPT, file];
}

/** How many agents have reported of late. */
export async function countFreshAgents(client: ServiceClient): Promise<number> {
  const { items } = await client.list<{ freshness: string }>('AgentList', '/v1/agents', { limit: 100 });
  return items.filter(({ freshness }) => freshness === 'fresh').length;
}
