import { stripVTControlCharacters, styleText } from 'node:util';

import type { LayerStatus } from '../../src/ports/reports.ts';
import type { Summary, Glance } from './watch.ts';

const BAR_WIDTH = 32;
const MACHINES_SHOWN = 10;
/** Without a terminal, one line in so many milliseconds is enough. */
const LINE_EVERY_MS = 3000;

/** Shows how it goes: redraws in place on a terminal, writes a line now and then elsewhere. Everything goes to `stream`. */
export class Screen {
  private readonly stream: NodeJS.WriteStream;
  private readonly startedMs = performance.now();
  private drawnLines = 0;
  private lastLineMs = -Infinity;

  constructor(stream: NodeJS.WriteStream) {
    this.stream = stream;
  }

  /** A sentence that stays. */
  say(text: string): void {
    this.clear();
    this.stream.write(`${text}\n`);
  }

  show(now: Glance): void {
    if (!this.stream.isTTY) {
      if (now.atMs - this.lastLineMs < LINE_EVERY_MS) return;
      this.lastLineMs = now.atMs;
      this.stream.write(`${this.headline(now)}\n`);
      return;
    }
    const columns = this.stream.columns;
    const lines = this.frame(now).map((line) =>
      stripVTControlCharacters(line).length > columns ? line.slice(0, columns) : line,
    );
    this.clear();
    this.stream.write(`${lines.join('\n')}\n`);
    this.drawnLines = lines.length;
  }

  clear(): void {
    if (this.drawnLines === 0) return;
    this.stream.moveCursor(0, -this.drawnLines);
    this.stream.cursorTo(0);
    this.stream.clearScreenDown();
    this.drawnLines = 0;
  }

  private headline({ status, machines, spentUsd }: Glance): string {
    const { tasks } = status;
    const at = ((performance.now() - this.startedMs) / 1000).toFixed(0).padStart(3);
    const cloud = Object.entries(Object.groupBy(machines, ({ state }) => state))
      .map(([state, list]) => `${list.length} ${state}`)
      .join(', ');
    const busy = (layer: LayerStatus | undefined): string =>
      layer === undefined ? '-' : `${layer.allocated.cpuMilli / 1000}/${layer.capacity.cpuMilli / 1000}`;
    const [local, aws] = ['local', 'cloud'].map((name) => status.layers.find(({ layer }) => layer === name));
    return (
      `${at} s  waiting ${(tasks.pending ?? 0) + (tasks.leased ?? 0)}  running ${tasks.running ?? 0}  done ${tasks.done ?? 0}` +
      `  local ${busy(local)} cpu  cloud ${busy(aws)} cpu  machines: ${cloud === '' ? 'none' : cloud}` +
      `  $${spentUsd.toFixed(4)} so far`
    );
  }

  private frame(now: Glance): readonly string[] {
    const { status, machines } = now;
    const shown = machines.slice(0, MACHINES_SHOWN);
    return [
      styleText('bold', 'Spillway demo') + `   ${this.headline(now).trim()}`,
      '',
      ...status.layers.map((layer) => bar(layer)),
      '',
      styleText('dim', '  MACHINE          STATE        TYPE           MARKET     ZONE        $/H      CHARGED'),
      ...shown.map((machine) => {
        const state = machine.state.padEnd(11);
        const painted =
          machine.state === 'ready'
            ? styleText('green', state)
            : machine.state === 'terminated'
              ? styleText('dim', state)
              : styleText('yellow', state);
        return `  ${machine.id}  ${painted}  ${machine.instanceType.padEnd(13)}  ${machine.market.padEnd(9)}  ${machine.zone.padEnd(10)}  ${Number(machine.priceUsdPerHour).toFixed(4)}  ${Number(machine.costUsd).toFixed(6)}`;
      }),
      ...(machines.length > shown.length ? [`  and ${machines.length - shown.length} more`] : []),
    ];
  }
}

function bar(layer: LayerStatus): string {
  const total = layer.capacity.cpuMilli;
  const used = total === 0 ? 0 : Math.round((layer.allocated.cpuMilli / total) * BAR_WIDTH);
  const text = '█'.repeat(used) + '░'.repeat(BAR_WIDTH - used);
  return `  ${layer.layer.padEnd(6)} ${text}  ${layer.allocated.cpuMilli / 1000} of ${total / 1000} cpu busy, ${layer.agents} agents`;
}

/** The summary as people read it. */
export function formatSummary(summary: Summary): string {
  const { tasks, machines, waitS } = summary;
  return [
    `tasks     ${tasks.done} of ${tasks.submitted} done, ${tasks.lost} lost`,
    `machines  ${machines.launched} launched, ${machines.terminated} terminated, ${machines.leaked} leaked`,
    `wait      p50 ${waitS.p50.toFixed(1)} s, p95 ${waitS.p95.toFixed(1)} s`,
    `money     ledger $${summary.ledgerUsd.toFixed(6)}, region's bill $${summary.billUsd.toFixed(6)}`,
    `time      ${summary.seconds.toFixed(1)} s`,
  ].join('\n');
}
