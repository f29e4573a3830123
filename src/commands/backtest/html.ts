import { escapeHtml, renderChart } from './charts.ts';
import type { BacktestReport, PolicyTimeline } from './report.ts';
import { describePast, FIGURES, figureText } from './report.ts';

const STYLE =
  'body{font:15px/1.5 system-ui,sans-serif;max-width:960px;margin:2rem auto;padding:0 1rem;color:#222;background:#fff}' +
  'table{border-collapse:collapse}th,td{padding:.2rem 1rem .2rem 0;text-align:left}td+td,th+th{text-align:right;font-variant-numeric:tabular-nums}' +
  'tr{border-bottom:1px solid #8883}figure{margin:2rem 0}figcaption{font-weight:600}svg{width:100%;height:auto}svg text{font-size:11px;fill:currentColor}' +
  '.legend span{margin-right:1.2rem}.legend i{display:inline-block;width:.9em;height:.9em;margin-right:.4em;vertical-align:-.1em}' +
  '@media (prefers-color-scheme:dark){body{color:#ddd;background:#181818}}';
const COLORS = {
  demand: '#c0392b',
  local: '#2471a3',
  cloud: '#1e8449',
  bought: '#b7950b',
  first: '#2471a3',
  second: '#c0392b',
};

/** The whole report as one HTML page that needs nothing else. */
export function renderReport(report: BacktestReport, timelines: readonly PolicyTimeline[]): string {
  const { trace, agents, policies, difference, bootS, catalogue } = report;
  const title = escapeHtml(`Backtest of ${trace.name}`);
  const facts = `${describePast(report)}; on ${agents.count} local agents (${agents.cores} cores, ${agents.memoryGib} GiB, ${agents.gpus} GPUs); a machine boots in ${bootS} s; prices: ${catalogue}`;
  const heads = ['', ...policies.map(({ policy }) => policy), ...(difference === null ? [] : ['Difference'])];
  const rows = FIGURES.map(({ key, label, kind }) => [
    label,
    ...policies.map((result) => figureText(kind, result[key])),
    ...(difference === null ? [] : [figureText(kind, difference[key], true)]),
  ]);
  const cells = (tag: 'td' | 'th', row: readonly string[]): string =>
    `<tr>${row.map((cell) => `<${tag}>${escapeHtml(cell)}</${tag}>`).join('')}</tr>`;
  const failed = report.failed.map(
    ({ condition, policy, actual }) =>
      `<li>${escapeHtml(`${condition}: it is ${actual ?? 'not known'} (${policy})`)}</li>`,
  );
  return [
    '<!doctype html>',
    `<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>${title}</title><style>${STYLE}</style></head><body>`,
    `<h1>${title}</h1><p>${escapeHtml(facts)}</p>`,
    failed.length === 0 ? '' : `<h2>Failed</h2><ul>${failed.join('')}</ul>`,
    `<table>${cells('th', heads)}${rows.map((row) => cells('td', row)).join('')}</table>`,
    ...timelines.map((timeline) => demandChart(timeline, agents.cores)),
    ...timelines.map(cloudChart),
    moneyChart(timelines),
    '</body></html>\n',
  ].join('\n');
}

function demandChart({ policy, samples }: PolicyTimeline, localCores: number): string {
  const cores = (milli: number): number => milli / 1000;
  return renderChart({
    title: `Demand and local agents: ${policy}`,
    unit: 'cores',
    moments: momentsOf(samples),
    series: [
      {
        label: 'demand: running and waiting',
        color: COLORS.demand,
        values: samples.map((sample) => cores(sample.localUsedMilli + sample.cloudUsedMilli + sample.pendingMilli)),
      },
      {
        label: 'used on local agents',
        color: COLORS.local,
        values: samples.map((sample) => cores(sample.localUsedMilli)),
      },
      { label: 'local agents', color: COLORS.local, isDashed: true, values: samples.map(() => localCores) },
    ],
  });
}

function cloudChart({ policy, samples }: PolicyTimeline): string {
  return renderChart({
    title: `Cloud: ${policy}`,
    unit: 'cores',
    moments: momentsOf(samples),
    series: [
      { label: 'launched', color: COLORS.bought, values: samples.map(({ cloudCpuMilli }) => cloudCpuMilli / 1000) },
      { label: 'used', color: COLORS.cloud, values: samples.map(({ cloudUsedMilli }) => cloudUsedMilli / 1000) },
    ],
  });
}

function moneyChart(timelines: readonly PolicyTimeline[]): string {
  const longest = timelines.reduce<PolicyTimeline | null>(
    (best, each) => (best === null || each.samples.length > best.samples.length ? each : best),
    null,
  );
  return renderChart({
    title: 'Money',
    unit: 'USD',
    moments: momentsOf(longest?.samples ?? []),
    series: timelines.map(({ policy, samples }, at) => ({
      label: policy,
      color: at === 0 ? COLORS.first : COLORS.second,
      values: samples.map(({ spentUsd }) => spentUsd),
    })),
  });
}

function momentsOf(samples: PolicyTimeline['samples']): readonly number[] {
  const from = samples[0]?.atS ?? 0;
  return samples.map(({ atS }) => atS - from);
}
