import { expect, test } from 'vitest';
import { createMetrics } from '../../src/observability/metrics.ts';

test('a figure that was never set is absent instead of zero', async () => {
  const metrics = createMetrics('1.2.3');
  expect(await metrics.render()).not.toMatch(/^spillway_(leader|reaper_orphans|spend_month_usd|planner_last_tick)/m);
  metrics.leading(false);
  metrics.orphansSeen(3);
  const text = await metrics.render();
  expect(text).toMatch(/^spillway_leader 0$/m);
  expect(text).toMatch(/^spillway_reaper_orphans 3$/m);
  expect(text).toMatch(/^spillway_build_info\{version="1\.2\.3"\} 1$/m);
});

test('the fleet vanishes when it cannot be read, and a state without machines does not linger', async () => {
  const metrics = createMetrics('1.2.3');
  const fleet = {
    at: '',
    layers: [],
    waiting: [],
    drains: [],
    tasks: {},
    usdPerHour: '0.5',
    spend: { todayUsd: '0', monthUsd: '1.25' },
    lastPlan: null,
    amnesia: null,
  };
  metrics.fleet({ ...fleet, machines: [{ workload: 'ci', state: 'booting', market: 'spot', count: 2 }] });
  expect(await metrics.render()).toContain('spillway_machines{workload="ci",state="booting",market="spot"} 2');
  metrics.fleet({ ...fleet, machines: [{ workload: 'ci', state: 'ready', market: 'spot', count: 2 }] });
  const text = await metrics.render();
  expect(text).not.toContain('state="booting"');
  expect(text).toMatch(/^spillway_spend_month_usd 1\.25$/m);
  metrics.fleet(null);
  expect(await metrics.render()).not.toMatch(/^spillway_(machines|spend)/m);
});

test('drains that are overdue or held are gauges of their workload, and vanish with the last drain', async () => {
  const metrics = createMetrics('1.2.3');
  const status = {
    at: '',
    layers: [],
    waiting: [],
    tasks: {},
    machines: [],
    usdPerHour: '0',
    spend: { todayUsd: '0', monthUsd: '0' },
    lastPlan: null,
    amnesia: null,
  };
  const drain = { workload: 'db', machines: 4, overdue: 2, oldestOverdueS: 95.5, heldByHealth: 1, heldByTurn: 3 };
  const calm = { ...drain, workload: 'ci', overdue: 0, oldestOverdueS: null };
  metrics.fleet({ ...status, drains: [drain, calm] });
  const text = await metrics.render();
  expect(text).toContain('spillway_drains_overdue{workload="db"} 2');
  expect(text).toContain('spillway_drain_oldest_overdue_seconds{workload="db"} 95.5');
  expect(text).toContain('spillway_drain_oldest_overdue_seconds{workload="ci"} 0');
  expect(text).toContain('spillway_drains_held{workload="db",by="health"} 1');
  expect(text).toContain('spillway_drains_held{workload="db",by="turn"} 3');
  metrics.fleet({ ...status, drains: [] });
  expect(await metrics.render()).not.toMatch(/^spillway_drain(?:s_|_oldest)/m);
  metrics.fleet({ ...status, drains: [drain] });
  metrics.fleet(null);
  expect(await metrics.render()).not.toMatch(/^spillway_drain(?:s_|_oldest)/m);
});

test('counts decisions by what and why, and times in seconds', async () => {
  const metrics = createMetrics('1.2.3');
  metrics.planned({
    atMs: 1_000_500,
    tookMs: 20,
    decisions: [{ workload: 'ci', action: 'launch', reason: 'unserved-work' }],
  });
  metrics.joined(43_000);
  metrics.launchAttempted({ outcome: 'refused', errorClass: 'capacity' });
  const text = await metrics.render();
  expect(text).toContain('spillway_planner_last_tick_timestamp_seconds 1000.5');
  expect(text).toContain('spillway_decisions_total{workload="ci",action="launch",reason="unserved-work"} 1');
  expect(text).toContain('spillway_join_duration_seconds_sum 43');
  expect(text).toContain('spillway_launch_attempts_total{outcome="refused",error_class="capacity"} 1');
});

test('counts calls to EC2, their throttles and those that found no token, by action', async () => {
  const metrics = createMetrics('1.2.3');
  metrics.ec2Called('DescribeInstances');
  metrics.ec2Called('DescribeInstances');
  metrics.ec2Throttled('RunInstances');
  metrics.ec2PutOff('TerminateInstances');
  const text = await metrics.render();
  expect(text).toContain('spillway_ec2_calls_total{action="DescribeInstances"} 2');
  expect(text).toContain('spillway_ec2_throttles_total{action="RunInstances"} 1');
  expect(text).toContain('spillway_ec2_put_off_total{action="TerminateInstances"} 1');
});

test('label values from outside are capped', async () => {
  const metrics = createMetrics('1.2.3');
  const decisions = Array.from({ length: 1500 }, (_, index) => ({
    workload: `w${index}`,
    action: 'hold',
    reason: 'satisfied',
  }));
  metrics.planned({ atMs: 0, tookMs: 1, decisions });
  const series = (await metrics.render()).split('\n').filter((line) => line.startsWith('spillway_decisions_total{'));
  expect(series).toHaveLength(1001);
  expect(series.at(-1)).toContain('workload="other",action="hold",reason="satisfied"} 500');
});
