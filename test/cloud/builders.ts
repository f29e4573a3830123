import type { LaunchBody } from '../../src/model/launch.ts';
import type { RunRequest } from '../../src/ports/cloud.ts';
import {
  SIMULATED_IMAGES,
  SIMULATED_INSTANCE_PROFILE,
  SIMULATED_SECURITY_GROUP,
  SIMULATED_SUBNETS,
} from '../../src/simulator/world.ts';

export const REGION = 'us-east-1';

export const body: LaunchBody = {
  region: REGION,
  imageId: SIMULATED_IMAGES.x86_64,
  instanceType: 'c6a.large',
  subnetId: SIMULATED_SUBNETS.a,
  securityGroupIds: [SIMULATED_SECURITY_GROUP],
  instanceProfile: null,
  market: 'on-demand',
  count: 2,
  volumeGib: 20,
  rootDeviceName: '/dev/sda1',
  tags: { Name: 'spillway', 'spillway:owner': 'test' },
  sshUser: 'ubuntu',
  authorizedKey: 'ssh-ed25519 AAAA',
  userDataSha256: '',
};

export const profileName = SIMULATED_INSTANCE_PROFILE;

/** A launch of two c6a.large that may be signed for ever, with what a test changes about it. */
export function runRequest(
  changes: Partial<Omit<RunRequest, 'body'>> & { readonly body?: Partial<LaunchBody> } = {},
): RunRequest {
  return {
    region: REGION,
    token: 'sw1.token',
    userData: '#cloud-config\n',
    signBefore: { wallMs: Infinity, monotonicMs: Infinity },
    ...changes,
    body: { ...body, ...changes.body },
  };
}

/** Points the SDK's standard settings at an endpoint with throw-away credentials; returns the way back. */
export function useEndpoint(endpoint: string, key = { accessKeyId: 'AKIATEST', secretAccessKey: 'test' }): () => void {
  const settings: Record<string, string> = {
    AWS_ENDPOINT_URL_EC2: endpoint,
    AWS_ENDPOINT_URL_EC2_INSTANCE_CONNECT: endpoint,
    AWS_ACCESS_KEY_ID: key.accessKeyId,
    AWS_SECRET_ACCESS_KEY: key.secretAccessKey,
    // Nothing of the developer's own profile may leak in.
    AWS_CONFIG_FILE: '/dev/null',
    AWS_SHARED_CREDENTIALS_FILE: '/dev/null',
    AWS_EC2_METADATA_DISABLED: 'true',
  };
  const before = Object.keys(settings).map((name) => [name, process.env[name]] as const);
  Object.assign(process.env, settings);
  return () => {
    for (const [name, value] of before) {
      if (value === undefined) delete process.env[name];
      else process.env[name] = value;
    }
  };
}
