import {
  SIMULATED_IMAGES,
  SIMULATED_REGION,
  SIMULATED_SECURITY_GROUP,
  SIMULATED_SUBNETS,
} from '../../src/simulator/world.ts';

export const WORKLOAD = 'render';

/** The datacenter: little of its own, so that each wave overflows. */
export const AGENT = { names: ['rack-1', 'rack-2'], cpus: 4, memoryMib: 8192 } as const;

/** More than that must never live in the region at the same time. */
export const MACHINES_MAX = 6;

/** The policy of a run, as a user would write it, with short waits. */
export function renderPolicy({
  identityFile,
  sshPort,
  machinesMax,
}: {
  readonly identityFile: string;
  readonly sshPort: number;
  readonly machinesMax: number;
}): string {
  return `apiVersion: spillway.dev/v1
kind: WorkloadPolicy
metadata: { name: ${WORKLOAD} }
spec:
  agents: { selector: { pool: ${WORKLOAD} } }
  demand:
    queue: { source: bullmq, task: { cpu: 1, memory: 256MiB }, maxWait: 0s }
    freshness: 10s
  burst:
    region: ${SIMULATED_REGION}
    subnets: [${Object.values(SIMULATED_SUBNETS).join(', ')}]
    securityGroups: [${SIMULATED_SECURITY_GROUP}]
    image: { x86_64: ${SIMULATED_IMAGES.x86_64} }
    instances: { cpu: 4..4, families: [c, m] }
    market: { spot: 50%, onDemandBase: 1 }
    limits: { min: 0, max: ${machinesMax}, launchesPerHour: 1000, maxScaleUp: ${MACHINES_MAX}, maxScaleDown: ${MACHINES_MAX} }
    budget: { hourly: 20 }
  join:
    ssh: { user: ubuntu, port: ${sshPort}, identity: { file: ${identityFile} } }
    ready: { deadline: 60s }
  drain:
    scaleDownUnneededTime: 3s
    churnPause: 0s
    cooldown: { scaleUp: 0s, scaleDown: 1s }
    deadline: 60s
`;
}
