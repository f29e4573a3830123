import { randomBytes } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { deriveHostKey } from '../../src/cloud/host-key.ts';
import {
  SIMULATED_ACCESS_KEY,
  SIMULATED_IMAGES,
  SIMULATED_REGION,
  SIMULATED_SECURITY_GROUP,
  SIMULATED_SUBNETS,
} from '../../src/simulator/world.ts';
import type { BenchDatabase } from './database.ts';

/** The workload of every benchmark. */
export const WORKLOAD = 'bench';

export interface DeploymentOptions {
  readonly endpoint: string;
  /** Where the instances' SSH is; 22 unless told. */
  readonly sshPort?: number;
  readonly taskCpu: number;
  /** As a policy says it: `4..4`. */
  readonly instanceCpu: string;
  readonly machines: { readonly min: number; readonly max: number };
  /** Machines that one plan adds; 50 unless told. */
  readonly maxScaleUp?: number;
}

/** Writes what an operator keeps beside a service, its policy above all. @returns the variables that name all of it */
export async function layOut(database: BenchDatabase, options: DeploymentOptions): Promise<Record<string, string>> {
  const policies = join(database.dataDir, 'policies');
  const identityFile = join(database.dataDir, 'id_ed25519');
  await mkdir(policies);
  await writeFile(identityFile, deriveHostKey(randomBytes(32), 'login key of the benchmark').privateOpenSsh, {
    mode: 0o600,
  });
  await writeFile(join(policies, `${WORKLOAD}.yaml`), renderPolicy(identityFile, options));
  return {
    SPILLWAY_POLICIES: policies,
    AWS_ENDPOINT_URL_EC2: options.endpoint,
    AWS_REGION: SIMULATED_REGION,
    AWS_ACCESS_KEY_ID: SIMULATED_ACCESS_KEY.accessKeyId,
    AWS_SECRET_ACCESS_KEY: SIMULATED_ACCESS_KEY.secretAccessKey,
  };
}

function renderPolicy(identityFile: string, options: DeploymentOptions): string {
  const { sshPort = 22, taskCpu, instanceCpu, machines, maxScaleUp = 50 } = options;
  return `apiVersion: spillway.dev/v1
kind: WorkloadPolicy
metadata: { name: ${WORKLOAD} }
spec:
  agents: { selector: { pool: bench } }
  demand:
    queue: { source: bullmq, task: { cpu: ${taskCpu}, memory: 1GiB }, maxWait: 0s }
  burst:
    region: ${SIMULATED_REGION}
    subnets: [${Object.values(SIMULATED_SUBNETS).join(', ')}]
    securityGroups: [${SIMULATED_SECURITY_GROUP}]
    image: { x86_64: ${SIMULATED_IMAGES.x86_64} }
    instances: { cpu: ${instanceCpu}, families: [c] }
    market: { spot: 0% }
    limits: { min: ${machines.min}, max: ${machines.max}, launchesPerHour: 1000, maxScaleUp: ${maxScaleUp} }
    budget: { hourly: 1000 }
  join:
    ssh: { user: ubuntu, port: ${sshPort}, identity: { file: ${identityFile} } }
`;
}
