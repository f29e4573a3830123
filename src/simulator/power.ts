/** StopInstances and StartInstances. Both are all or nothing, and safe to repeat. */
import type {
  InstanceStateChange,
  StartInstancesRequest,
  StartInstancesResult,
  StopInstancesRequest,
  StopInstancesResult,
} from '@aws-sdk/client-ec2';
import { requireTouchable } from './describe-fleet.ts';
import { Ec2Error } from './ec2-error.ts';
import { renderState } from './instance-shape.ts';
import type { InstanceState, SimulatedInstance } from './life.ts';
import { endLife, isAlive, startLife, stateAt } from './life.ts';
import type { RegionState } from './region-state.ts';
import { authorizeOnInstances, endDryRun, listAlive } from './region-state.ts';
import { noCapacity, roomInCapacity, roomInQuota } from './run-instances.ts';

function requireState(instance: SimulatedInstance, state: InstanceState, allowed: readonly InstanceState[]): void {
  if (allowed.includes(state)) return;
  throw new Ec2Error(
    'IncorrectInstanceState',
    `The instance '${instance.instanceId}' is not in a state from which it can be started or stopped (${state}).`,
  );
}

function requireIds(ids: readonly string[] | undefined): string[] {
  const distinct = [...new Set(ids ?? [])];
  if (distinct.length > 0) return distinct;
  throw new Ec2Error('MissingParameter', 'The request must contain the parameter InstanceId');
}

/** Begins to stop what runs; what stops or has stopped already is only told about. */
export function stopInstances(state: RegionState, input: StopInstancesRequest): StopInstancesResult {
  const instances = requireTouchable(state, requireIds(input.InstanceIds));
  authorizeOnInstances(state, 'StopInstances', instances);
  const nowMs = state.clock.nowMs();
  for (const instance of instances) {
    if (instance.market === 'spot') {
      throw new Ec2Error(
        'UnsupportedOperation',
        `You can't stop the Spot Instance '${instance.instanceId}' because it is associated with a one-time Spot Instance request.`,
      );
    }
    requireState(instance, stateAt(instance, nowMs), ['running', 'stopping', 'stopped']);
  }
  endDryRun(input.DryRun);
  return {
    StoppingInstances: instances.map((instance) =>
      change(state, instance, (previous) => {
        if (previous !== 'running') return;
        endLife(instance, { atMs: nowMs, takesMs: state.settings.stopMs, cause: 'user', to: 'stopped' });
      }),
    ),
  };
}

/** Starts what is stopped, as far as there is room for it; what runs already is only told about. */
export function startInstances(state: RegionState, input: StartInstancesRequest): StartInstancesResult {
  const instances = requireTouchable(state, requireIds(input.InstanceIds));
  authorizeOnInstances(state, 'StartInstances', instances);
  const nowMs = state.clock.nowMs();
  for (const instance of instances) {
    requireState(instance, stateAt(instance, nowMs), ['pending', 'running', 'stopped']);
    if (isAlive(instance, nowMs)) continue;
    const alive = listAlive(state, nowMs);
    roomInQuota(state, instance.type, { alive, least: 1 });
    if (roomInCapacity(state, instance, { alive, nowMs }) < 1) throw noCapacity(instance);
  }
  endDryRun(input.DryRun);
  const { pendingMs, bootMs } = state.settings;
  return {
    StartingInstances: instances.map((instance) =>
      change(state, instance, (previous) => {
        if (previous === 'stopped') startLife(instance, { launchedAtMs: nowMs, pendingMs, bootMs });
      }),
    ),
  };
}

function change(
  state: RegionState,
  instance: SimulatedInstance,
  act: (previous: InstanceState) => void,
): InstanceStateChange {
  const nowMs = state.clock.nowMs();
  const previous = stateAt(instance, nowMs);
  act(previous);
  return {
    InstanceId: instance.instanceId,
    CurrentState: renderState(stateAt(instance, nowMs)),
    PreviousState: renderState(previous),
  };
}
