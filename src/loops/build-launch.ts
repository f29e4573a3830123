import type { PlanId } from '../model/ids.ts';
import type { LaunchBody } from '../model/launch.ts';
import type { WorkloadPolicy } from '../model/policy.ts';
import { MINUTE_MS } from '../model/time.ts';
import type { PlanAction } from '../planner/types.ts';
import type { NewLaunch } from '../ports/planning.ts';
import type { LoopPorts } from './ports.ts';

/** EC2 answers within seconds; ten minutes outlive a throttled hour's worst minute and every replay of a lost answer. */
const LAUNCH_DEADLINE_MS = 10 * MINUTE_MS;

/** Turns a decision into an intent that is whole: ids, random nonce, token, and the body that every call will repeat. */
export async function buildLaunch(
  ports: Pick<LoopPorts, 'ids' | 'credentials' | 'owner' | 'offerings'>,
  planId: PlanId,
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
  // EC2 refuses a root volume smaller than the image's own.
  const volumeGib = Math.max(policy.burst.volumeGib, image.rootVolumeGib);
  const body: LaunchBody = {
    region: policy.burst.region,
    imageId: action.imageId,
    instanceType: offering.instanceType.name,
    subnetId: offering.subnetId,
    securityGroupIds: policy.burst.securityGroups,
    instanceProfile: policy.burst.instanceProfile,
    market: offering.market,
    count: action.count,
    volumeGib,
    rootDeviceName: image.rootDeviceName,
    tags: {
      Name: `spillway-${policy.name}`,
      'spillway:owner': ports.owner,
      'spillway:workload': policy.name,
      'spillway:launch': id,
      'spillway:plan': planId,
      // What EC2 does not tell of an instance later; the ledger is rebuilt from it when the database forgets.
      'spillway:price': offering.priceUsdPerHour.toFixed(6),
      'spillway:volume': String(volumeGib),
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
