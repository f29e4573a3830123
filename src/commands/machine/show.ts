import type { MachineDetails, MachineEventDocument } from '../../ports/reports.ts';
import { humanSeconds, humanUsd, shape } from '../output/format.ts';
import { keyValues } from '../output/key-values.ts';
import type { Output } from '../output/output.ts';
import type { Column } from '../output/table.ts';
import type { CommandSpec } from '../types.ts';
import { protectionText } from './protection-text.ts';

interface TimelineRow extends MachineEventDocument {
  /** Since the event before; null for the first. */
  readonly tookS: number | null;
}

const TIMELINE: readonly Column<TimelineRow>[] = [
  { header: 'AT', raw: (row) => row.at },
  { header: 'STATE', raw: (row) => row.toState },
  { header: 'TOOK', align: 'right', raw: (row) => (row.tookS === null ? null : humanSeconds(row.tookS)) },
  { header: 'ACTOR', raw: (row) => row.actor },
  { header: 'REASON', raw: (row) => row.reason },
  { header: 'PLAN', raw: (row) => row.planId },
  { header: 'DETAIL', raw: (row) => (Object.keys(row.detail).length === 0 ? null : JSON.stringify(row.detail)) },
];

export const machineShow: CommandSpec = {
  path: 'machine show',
  summary: 'Show one cloud machine: what it is, what it cost, and everything that happened to it',
  arguments: [{ name: 'MACHINE', summary: 'id of the machine, mc-...', names: 'machines' }],
  examples: [{ command: 'spillway machine show mc-7f3ak2p9qx0z', summary: 'with its timeline' }],
  output: 'object',
  exitCodes: [3],
  seeAlso: ['machine list'],
  async run({ args, output, client }) {
    const machine = await (
      await client()
    ).get<MachineDetails>('Machine', `/v1/machines/${encodeURIComponent(args[0] ?? '')}`);
    await output.object('Machine', machine, () => describeMachine(machine, output));
    return 0;
  },
};

function describeMachine(machine: MachineDetails, output: Output): void {
  const observed =
    machine.observedState === null ? null : `${machine.observedState} (EC2, ${machine.observedAt ?? ''})`;
  const lines = keyValues([
    ['ID', machine.id],
    ['Workload', machine.workload],
    ['State', machine.state],
    ['Since', machine.stateSince],
    ['Waiting', machine.waiting],
    ['Last for', machine.waitsFor === null ? null : `${machine.waitsFor.says}, since ${machine.waitsFor.since}`],
    ...blockerLines(machine),
    ['Protected', machine.protection === null ? null : protectionText(machine.protection)],
    ['Failing', failureSentence(machine)],
    ['Deadline', machine.deadlineAt],
    ['End reason', machine.endReason],
    ['End detail', machine.endDetail],
    ['Instance', machine.instanceId],
    ['Observed', observed],
    ['Address', machine.privateIp],
    ['Host key', hostKeySentence(machine)],
    ['Type', `${machine.instanceType}, ${shape(machine.resources, 'vCPU')}, ${machine.volumeGib} GiB volume`],
    ['Offering', `${machine.market} in ${machine.zone}`],
    ['Agent', machine.agentId],
    ['Plan', machine.planId],
    ['Trace', machine.traceId],
    ['Launch', machine.launchId],
    ['Created', machine.createdAt],
    ['Ended', machine.endedAt],
    ['Price', `$${humanUsd(machine.priceUsdPerHour, 4)}/h at launch`],
    ['Cost', costSentence(machine)],
  ]);
  lines.forEach((line) => output.line(line));
  if (machine.events.length === 0) return;
  output.line('');
  output.block(TIMELINE, timelineOf(machine.events));
}

function hostKeySentence({ hostKey }: MachineDetails): string | null {
  if (hostKey === null) return null;
  return hostKey.confirmed ? hostKey.fingerprint : `${hostKey.fingerprint} (pinned, not proved yet)`;
}

/** More names than this are a list; `-o json` has a hundred. */
const BLOCKERS_SHOWN = 10;

/** What keeps a machine that drains, a line each. */
function blockerLines({ drain }: MachineDetails): (readonly [string, string | null])[] {
  if (drain === null) return [];
  const { blockers, extensions, interruptedAt } = drain;
  const shown = blockers
    .slice(0, BLOCKERS_SHOWN)
    .map(({ says, since }) => `${says}${since === null ? '' : `, since ${since}`}`);
  const more = blockers.length - shown.length;
  return [
    ...shown.map((says) => ['Blocked', says] as const),
    ...(more > 0 ? [['Blocked', `and ${more} more; see -o json`] as const] : []),
    ['Interrupted', interruptedAt === null ? null : `EC2 takes it back at ${interruptedAt}`],
    [
      'Extensions',
      extensions === 0 ? null : `its deadline was moved ${extensions === 1 ? 'once' : `${extensions} times`}`,
    ],
  ];
}

function failureSentence({ stepFailures, stepError }: MachineDetails): string | null {
  return stepFailures === 0 ? null : `${stepFailures} times in a row: ${stepError ?? 'nothing was said'}`;
}

function costSentence(machine: MachineDetails): string {
  const parts = machine.costByKind.map(({ kind, amountUsd }) => `${kind} $${humanUsd(amountUsd, 4)}`);
  const through = machine.chargedThrough === null ? 'nothing charged yet' : `charged through ${machine.chargedThrough}`;
  return `$${humanUsd(machine.costUsd, 4)} (${[...parts, through].join(', ')})`;
}

function timelineOf(events: readonly MachineEventDocument[]): TimelineRow[] {
  return events.map((event, index) => {
    const before = events[index - 1];
    return { ...event, tookS: before === undefined ? null : (Date.parse(event.at) - Date.parse(before.at)) / 1000 };
  });
}
