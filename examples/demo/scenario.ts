/**
 * What the demo plays: a small datacenter, a wave of work it cannot hold, and a policy that may burst.
 * The figures are chosen so that all of it is over in about a minute.
 */
export const SCENARIO = {
  workload: 'render',
  /** On-prem agents: real processes on this machine that advertise this much. */
  agents: 3,
  agentCpus: 4,
  agentMemoryMib: 8192,
  /** 3 x 4 local CPUs against 48 tasks of one CPU: 36 overflow. */
  tasks: 48,
  taskSeconds: 8,
  /** Until SSH answers on a simulated instance. */
  bootSeconds: 6,
} as const;

/** Real work for a real process: counts, notes its progress, and goes on where an earlier attempt stopped. */
export const TASK_COMMAND: readonly string[] = [
  'sh',
  '-c',
  `step=0
[ -s "$SPILLWAY_PROGRESS_FILE" ] && read -r step <"$SPILLWAY_PROGRESS_FILE"
while [ "$step" -lt ${SCENARIO.taskSeconds} ]; do
  sleep 1
  step=$((step + 1))
  echo "$step" >"$SPILLWAY_PROGRESS_FILE"
  echo "rendered $step of ${SCENARIO.taskSeconds}"
done`,
];

export interface PolicyPlace {
  readonly region: string;
  readonly subnets: readonly string[];
  readonly securityGroup: string;
  readonly image: string;
  readonly identityFile: string;
  readonly sshPort: number;
}

/** The demo's policy, as a user would write it. */
export function renderPolicy(place: PolicyPlace): string {
  return `apiVersion: spillway.dev/v1
kind: WorkloadPolicy
metadata: { name: ${SCENARIO.workload} }
spec:
  agents: { selector: { pool: ${SCENARIO.workload} } }
  demand:
    queue: { source: bullmq, task: { cpu: 1, memory: 512MiB }, maxWait: 0s }
    freshness: 10s
  burst:
    region: ${place.region}
    subnets: [${place.subnets.join(', ')}]
    securityGroups: [${place.securityGroup}]
    image: { x86_64: ${place.image} }
    instances: { cpu: 4..8, families: [c, m] }
    market: { spot: 50%, onDemandBase: 1 }
    limits: { min: 0, max: 8, launchesPerHour: 60, maxScaleUp: 8, maxScaleDown: 8 }
    budget: { hourly: 5 }
  join:
    ssh: { user: ubuntu, port: ${place.sshPort}, identity: { file: ${place.identityFile} } }
    ready: { deadline: 60s }
  drain:
    scaleDownUnneededTime: 3s
    cooldown: { scaleUp: 0s, scaleDown: 1s }
    deadline: 60s
`;
}
