import type { CostReportDocument, CostRowDocument } from '../../ports/reports.ts';
import { COST_GROUPINGS } from '../../cost/report.ts';
import { parseMoment, usage, type Options } from '../options.ts';
import { humanUsd } from '../output/format.ts';
import type { Column } from '../output/table.ts';
import type { CommandSpec } from '../types.ts';

function money(header: string, read: (row: CostRowDocument) => string): Column<CostRowDocument> {
  return { header, align: 'right', human: (row) => humanUsd(read(row), 4), raw: read };
}

function columns(by: string): readonly Column<CostRowDocument>[] {
  return [
    { header: by.toUpperCase(), raw: (row) => row.key },
    { header: 'MACHINES', align: 'right', raw: (row) => row.machines },
    { header: 'HOURS', align: 'right', human: (row) => row.machineHours.toFixed(2), raw: (row) => row.machineHours },
    money('COMPUTE', (row) => row.computeUsd),
    money('VOLUME', (row) => row.volumeUsd),
    money('IPV4', (row) => row.ipv4Usd),
    money('TOTAL', (row) => row.totalUsd),
    money('ESTIMATED', (row) => row.estimatedUsd),
  ];
}

export const costReport: CommandSpec = {
  path: 'cost report',
  summary: 'Report what the cloud has cost, from the ledger',
  description:
    'US dollars, days and months in UTC. ESTIMATED is the part of TOTAL that is not in the ledger yet: what living machines have cost since their last charge, at their price at launch. Local agents have no price here.',
  options: [
    { name: 'from', value: 'DATE', summary: 'begin, as 2026-11-01 or RFC 3339; default the first of this month' },
    { name: 'to', value: 'DATE', summary: 'end, not included; default now' },
    { name: 'month', value: 'YYYY-MM', summary: 'a whole month instead of --from and --to' },
    { name: 'by', value: 'GROUP', summary: COST_GROUPINGS.join(', '), default: 'workload', choices: COST_GROUPINGS },
  ],
  examples: [
    { command: 'spillway cost report', summary: 'this month so far, by workload' },
    { command: 'spillway cost report --month 2026-11 --by day -o csv', summary: 'a month, for a spreadsheet' },
  ],
  output: 'list',
  exitCodes: [5],
  seeAlso: ['machine list', 'status'],
  async run({ options, output, client, nowMs }) {
    const range = rangeOf(options, nowMs());
    const report = await (
      await client()
    ).get<CostReportDocument>('CostReport', '/v1/costs', { ...range, by: options.text('by') });
    if (output.form === 'json' || output.form === 'yaml') {
      await output.object('CostReport', report, () => undefined);
      return 0;
    }
    const withTotal = output.form === 'table' || output.form === 'wide';
    const items = withTotal && report.items.length > 0 ? [...report.items, report.total] : report.items;
    const empty = `nothing was spent from ${report.from} to ${report.to}`;
    await output.list({ kind: 'CostReport', items, columns: columns(report.by), name: (row) => row.key, empty });
    return 0;
  },
};

function rangeOf(options: Options, nowMs: number): { readonly from: string; readonly to: string } {
  const month = options.text('month');
  const from = options.text('from');
  const to = options.text('to');
  if (month !== null) {
    if (from !== null || to !== null)
      throw usage('--month and --from or --to exclude each other', 'give one or the other');
    return monthRange(month);
  }
  const firstOfMonth = `${new Date(nowMs).toISOString().slice(0, 7)}-01T00:00:00.000Z`;
  const range = {
    from: from === null ? firstOfMonth : parseMoment('from', from),
    to: to === null ? new Date(nowMs).toISOString() : parseMoment('to', to),
  };
  if (range.from >= range.to)
    throw usage(`the range from ${range.from} to ${range.to} is empty`, 'let --to be later than --from');
  return range;
}

function monthRange(month: string): { readonly from: string; readonly to: string } {
  const match = /^(\d{4})-(0[1-9]|1[0-2])$/.exec(month);
  if (match === null) throw usage(`--month: ${JSON.stringify(month)} is not a month`, 'write --month 2026-11');
  const [year, number] = [Number(match[1]), Number(match[2])];
  return {
    from: new Date(Date.UTC(year, number - 1)).toISOString(),
    to: new Date(Date.UTC(year, number)).toISOString(),
  };
}
