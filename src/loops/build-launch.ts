import type { PlanId, TraceId } from '../model/ids.ts';
import { offeringTags, OWNER_TAG, type LadderRung, type LaunchBody } from '../model/launch.ts';
import type { WorkloadPolicy } from '../model/policy.ts';
import { LAUNCH_DEADLINE_MS } from '../model/state-waits.ts';
import type { LaunchChoice, PlanAction } from '../planner/types.ts';
import type { NewLaunch } from '../ports/planning.ts';
import { standingLoginOf } from '../jobs/ssh-target.ts';
import type { LoadedPolicy } from '../ports/policies.ts';
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
  { policy, hash }: LoadedPolicy,
  action: Extract<PlanAction, { kind: 'launch' }>,
): Promise<NewLaunch> {
  const id = ports.ids.next('ln');
  const nonce = ports.ids.hex(16);
  const first = await toRung(ports, policy, action);
  const ladder: LadderRung[] = [];
  for (const choice of action.ladder) ladder.push(await toRung(ports, policy, choice));
  const { ssh, recipe } = policy.join;
  const login = {
    sshUser: ssh.user,
    // The image brings what takes the keys of EC2 Instance Connect.
    authorizedKey: ssh.instanceConnect === true ? null : await ports.credentials.loginPublicKey(standingLoginOf(ssh)),
    // Left out where there is one, so that bodies are as they always were.
    ...(ssh.hostKey === 'injected'
      ? {}
      : { hostKey: ssh.hostKey === 'console' ? ('own' as const) : ('image' as const) }),
    ...(recipe.shell === 'powershell' ? { platform: 'windows' as const } : {}),
  };
  const body: LaunchBody = {
    region: policy.burst.region,
    imageId: first.imageId,
    instanceType: first.instanceType,
    subnetId: first.subnetId,
    securityGroupIds: policy.burst.securityGroups,
    instanceProfile: policy.burst.instanceProfile,
    market: first.market,
    count: action.count,
    volumeGib: first.volumeGib,
    rootDeviceName: first.rootDeviceName,
    tags: {
      Name: `spillway-${policy.name}`,
      [OWNER_TAG]: ports.owner,
      'spillway:workload': policy.name,
      'spillway:launch': id,
      'spillway:plan': planId,
      'spillway:trace': traceId,
      ...offeringTags(first),
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
    zone: first.zone,
    priceUsdPerHour: first.priceUsdPerHour,
    resources: first.resources,
    arch: first.arch,
    machineIds: Array.from({ length: action.count }, () => ports.ids.next('mc')),
    deadlineMs: LAUNCH_DEADLINE_MS,
    ladder,
    policyHash: hash,
    probes: action.probes,
  };
}

/** An offering with what its architecture's image needs. */
async function toRung(
  ports: Pick<LoopPorts, 'offerings'>,
  { burst }: WorkloadPolicy,
  { offering, imageId }: LaunchChoice,
): Promise<LadderRung> {
  const image = await ports.offerings.image(burst.region, imageId);
  return {
    instanceType: offering.instanceType.name,
    resources: offering.instanceType.resources,
    arch: offering.instanceType.architecture,
    zone: offering.zone,
    subnetId: offering.subnetId,
    market: offering.market,
    priceUsdPerHour: offering.priceUsdPerHour,
    imageId,
    rootDeviceName: image.rootDeviceName,
    // EC2 refuses a root volume smaller than the image's own.
    volumeGib: Math.max(burst.volumeGib, image.rootVolumeGib),
  };
}
