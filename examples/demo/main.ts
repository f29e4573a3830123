/**
 * `npm run demo`: a datacenter of three small agents, a wave of work that overflows it, and a region of our own that lends
 * machines. Every part is the real one: Postgres, the service, the agents, SSH, tasks as processes, EC2's wire protocol.
 */
import { parseArgs } from 'node:util';

import { formatSummary, Screen } from './screen.ts';
import { SCENARIO, TASK_COMMAND } from './scenario.ts';
import { Stack } from './stack.ts';
import { findBrokenPromises, glance, isOver, summarise, type Summary } from './watch.ts';

/** All of it must be over by then. */
const DEADLINE_MS = 115_000;
const LOOK_EVERY_MS = 500;
/** After the last machine ended, the ledger's next turn writes the last charges. */
const LEDGER_MS = 15_000;

const { values } = parseArgs({
  options: { output: { type: 'string', short: 'o', default: 'text' }, keep: { type: 'boolean', default: false } },
});
if (values.output !== 'text' && values.output !== 'json') {
  process.stderr.write('usage: npm run demo -- [--output text|json] [--keep]\n');
  process.exit(2);
}
const json = values.output === 'json';
const screen = new Screen(json ? process.stderr : process.stdout);
const interrupted = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => interrupted.abort());

process.exitCode = await main();

async function main(): Promise<number> {
  const stack = await Stack.create();
  let keep = values.keep;
  try {
    const summary = await play(stack);
    const broken = findBrokenPromises(summary);
    screen.say(`\n${formatSummary(summary)}`);
    for (const sentence of broken) screen.say(`BROKEN: ${sentence}`);
    if (json) process.stdout.write(`${JSON.stringify(summary)}\n`);
    keep ||= broken.length > 0;
    return broken.length === 0 ? 0 : 1;
  } catch (error) {
    if (interrupted.signal.aborted) {
      screen.say('interrupted; stopping what was started');
      return 130;
    }
    keep = true;
    screen.say(`error: ${error instanceof Error ? error.message : String(error)}`);
    return 1;
  } finally {
    if (keep) screen.say(`logs are kept in ${stack.folder}`);
    await stack.stop(keep);
  }
}

async function play(stack: Stack): Promise<Summary> {
  const startedMs = performance.now();
  await step('starting a simulated region', async () => await stack.startRegion());
  await step('starting Postgres and the service', async () => await stack.startService());
  await step(
    `starting ${SCENARIO.agents} on-prem agents of ${SCENARIO.agentCpus} CPUs`,
    async () => await stack.startAgents(),
  );
  screen.say(`submitting ${SCENARIO.tasks} tasks of 1 CPU and ${SCENARIO.taskSeconds} s: more than the agents hold`);
  await stack.client.post('TaskReceipt', '/v1/tasks', {
    workload: SCENARIO.workload,
    command: TASK_COMMAND,
    count: SCENARIO.tasks,
  });
  await watchUntil(stack, startedMs + DEADLINE_MS, isOver);
  return await settle(stack, startedMs);
}

/** Looks until the ledger has caught up with the bill, or for so long that it should have. */
async function settle(stack: Stack, startedMs: number): Promise<Summary> {
  const untilMs = performance.now() + LEDGER_MS;
  for (;;) {
    const summary = await summarise(stack, (performance.now() - startedMs) / 1000);
    if (findBrokenPromises(summary).length === 0 || performance.now() > untilMs) return summary;
    await pause();
  }
}

async function watchUntil(
  stack: Stack,
  untilMs: number,
  done: (now: Awaited<ReturnType<typeof glance>>) => boolean,
): Promise<void> {
  for (;;) {
    const now = await glance(stack);
    screen.show(now);
    if (done(now)) return;
    if (performance.now() > untilMs) throw new Error(`not over after ${DEADLINE_MS / 1000} s`);
    await pause();
  }
}

async function step(text: string, work: () => Promise<void>): Promise<void> {
  interrupted.signal.throwIfAborted();
  screen.say(`${text} ...`);
  await work();
}

async function pause(): Promise<void> {
  interrupted.signal.throwIfAborted();
  await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));
}
