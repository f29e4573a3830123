import type { PlanId, TraceId } from '../model/ids.ts';
import type { LaunchBody } from '../model/launch.ts';
import type { WorkloadPolicy } from '../model/policy.ts';
import { LAUNCH_DEADLINE_MS } from '../model/state-waits.ts';
import type { PlanAction } from '../planner/types.ts';
import type { NewLaunch } from '../ports/planning.ts';
import type { LoopPorts } from './ports.ts';

/** What everything that comes of a plan carries. */
export interface Decision {
  readonly planId: PlanId;
  readonly traceId: TraceId;
}

/** Turns a decision into an intent that is whole: ids, random nonce, token, and the body that every call will repeat. */
export async function buildLaunch(
  ports: Pick<LoopPorts, 'ids' | 'credentials' | 'owner' | 'offerings'>,
  { planId, traceId }: Decision,
  policy: WorkloadPolicy,
  action: Extract<PlanAction, { kind: 'launch' }>,
): Promise<NewLaunch> {
  const id = ports.ids.next('ln');
  const nonce = ports.ids.hex(16);
  const { offering } = action;
  const image = await ports.offerings.image(policy.burst.region, action.imageId);
  const login = {
    sshUser: policy.join.ssh.user,
    authorizedKey: await ports.credentials.loginPublicKey(policy.join.ssh.identityFile),
  };
  const body: LaunchBody = {
    region: policy.burst.region,
    imageId: action.imageId,
    instanceType: offering.instanceType.name,
    subnetId: offering.subnetId,
    securityGroupIds: policy.burst.securityGroups,
    instanceProfile: policy.burst.instanceProfile,
    market: offering.market,
    count: action.count,
    // EC2 refuses a root volume smaller than the image's own.
    volumeGib: Math.max(policy.burst.volumeGib, image.rootVolumeGib),
    rootDeviceName: image.rootDeviceName,
    tags: {
      Name: `spillway-${policy.name}`,
      'spillway:owner': ports.owner,
      'spillway:workload': policy.name,
      'spillway:launch': id,
      'spillway:plan': planId,
      'spillway:trace': traceId,
    },
    ...login,
    userDataSha256: ports.credentials.sha256(ports.credentials.renderUserData(nonce, login)),
  };
  return {
    id,
    workload: policy.name,
    nonce,
    token: ports.credentials.makeToken(nonce, 1),
    body,
    zone: offering.zone,
    priceUsdPerHour: offering.priceUsdPerHour,
    resources: offering.instanceType.resources,
    machineIds: Array.from({ length: action.count }, () => ports.ids.next('mc')),
    deadlineMs: LAUNCH_DEADLINE_MS,
  };
}
