/**
 * A swarm of agents in a process of its own: `node swarm.ts`, its orders as one JSON line on standard input, its result as
 * one JSON line on standard output. Each agent has one keep-alive connection, or fleets share some, and the manners of the real one:
 * one report at a time, and after a refusal it waits as long as it was asked to.
 */
import { connect, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { text } from 'node:stream/consumers';
import { quantile } from './stats.ts';

export interface SwarmOrders {
  readonly host: string;
  readonly port: number;
  readonly tokens: readonly string[];
  /** So many connections carry the reports of all, as a proxy's would; 0 = each agent has its own. */
  readonly connections: number;
  /** Milliseconds from one report of an agent to its next; null = closed loop, at once after each answer. */
  readonly periodMs: number | null;
  /** Seconds that the service may hold its answer, as real agents allow. */
  readonly holdS: number;
  readonly warmUpMs: number;
  readonly measureMs: number;
  /** Sequence numbers begin above it: the service refuses what it has seen. */
  readonly seqFrom: number;
}

export interface SwarmResult {
  readonly accepted: number;
  /** Answers 429 and 503. */
  readonly refused: number;
  /** Reports that were due while their agent still waited, and so were never sent. */
  readonly missed: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly maxMs: number;
  /** CPU of this process over the measured span, in cores. */
  readonly cpuCores: number;
}

interface Answer {
  readonly status: number;
  readonly retryAfterS: number;
}

const ANSWER_MS = 30_000;

/** HTTP/1.1 over one connection; far cheaper than Node's client, because the service shares the cores with it. */
class Connection {
  readonly #orders: SwarmOrders;
  #socket: Socket | null = null;

  constructor(orders: SwarmOrders) {
    this.#orders = orders;
  }

  async post(token: string, body: string): Promise<Answer> {
    const socket = (this.#socket ??= this.#open());
    const { promise, resolve, reject } = Promise.withResolvers<Answer>();
    let received = '';
    const onData = (chunk: Buffer): void => {
      received += chunk.toString('latin1');
      const answer = parseAnswer(received);
      if (answer !== null) resolve(answer);
    };
    const onClose = (): void => reject(new Error('the service closed the connection without an answer'));
    socket
      .on('data', onData)
      .once('close', onClose)
      .setTimeout(ANSWER_MS, () => socket.destroy());
    socket.write(
      `POST /agent/v1/heartbeat HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer ${token}\r\n` +
        `Content-Type: text/plain; charset=utf-8\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
    );
    try {
      return await promise;
    } finally {
      socket.off('data', onData).off('close', onClose);
      if (/\r\nconnection: close\r\n/i.test(received)) this.close();
    }
  }

  close(): void {
    this.#socket?.destroy();
    this.#socket = null;
  }

  #open(): Socket {
    const socket = connect({ host: this.#orders.host, port: this.#orders.port, noDelay: true });
    // A close follows each error, and whoever waits hears of it.
    socket.on('error', () => undefined);
    socket.once('close', () => {
      if (this.#socket === socket) this.#socket = null;
    });
    return socket;
  }
}

/** Null until all of it is there. */
function parseAnswer(received: string): Answer | null {
  const headEnd = received.indexOf('\r\n\r\n');
  if (headEnd < 0) return null;
  const head = received.slice(0, headEnd);
  const length = Number(/\r\ncontent-length: (\d+)/i.exec(head)?.[1] ?? 0);
  if (received.length < headEnd + 4 + length) return null;
  return { status: Number(head.slice(9, 12)), retryAfterS: Number(/\r\nretry-after: (\d+)/i.exec(head)?.[1] ?? 0) };
}

class Counts {
  latenciesMs: number[] = [];
  accepted = 0;
  refused = 0;
  missed = 0;
}

async function live(index: number, orders: SwarmOrders, startMs: number, meter: { counts: Counts }): Promise<void> {
  const connection = new Connection(orders);
  const token = orders.tokens[index] ?? '';
  const endMs = startMs + orders.warmUpMs + orders.measureMs;
  const period = orders.periodMs ?? 0;
  let dueMs = startMs + (index / orders.tokens.length) * (orders.periodMs ?? orders.warmUpMs / 2);
  for (let seq = orders.seqFrom + 1; dueMs < endMs; seq += 1) {
    await sleep(Math.max(0, dueMs - performance.now()));
    const answer = await connection.post(token, reportOf(seq, orders.holdS));
    const nowMs = performance.now();
    if (answer.status === 200) {
      meter.counts.accepted += 1;
      // From the moment it was due: what waited in this process waited too.
      meter.counts.latenciesMs.push(nowMs - dueMs);
      dueMs = orders.periodMs === null ? nowMs : dueMs + period;
    } else if (answer.status === 429 || answer.status === 503) {
      meter.counts.refused += 1;
      dueMs = nowMs + answer.retryAfterS * 1000 * (1 + Math.random() / 2);
    } else {
      throw new Error(`the service answered ${answer.status}`);
    }
    // One report at a time: those that fell due meanwhile are not made up for.
    const missed = period === 0 ? 0 : Math.max(0, Math.ceil((nowMs - dueMs) / period) - 1);
    meter.counts.missed += missed;
    dueMs += missed * period;
  }
  connection.close();
}

/** One of the connections of a fleet: its agents one after the other, each once per period. Needs a period. */
async function carry(index: number, orders: SwarmOrders, startMs: number, meter: { counts: Counts }): Promise<void> {
  const { tokens, connections, periodMs, seqFrom } = orders;
  const connection = new Connection(orders);
  const endMs = startMs + orders.warmUpMs + orders.measureMs;
  const period = periodMs ?? 0;
  for (let round = 0; startMs + round * period < endMs; round += 1) {
    for (let agent = index; agent < tokens.length; agent += connections) {
      const dueMs = startMs + (round + agent / tokens.length) * period;
      if (dueMs >= endMs) break;
      await sleep(Math.max(0, dueMs - performance.now()));
      if (performance.now() > dueMs + period) {
        meter.counts.missed += 1;
        continue;
      }
      const answer = await connection.post(tokens[agent] ?? '', reportOf(seqFrom + round + 1, 0));
      if (answer.status === 200) {
        meter.counts.accepted += 1;
        meter.counts.latenciesMs.push(performance.now() - dueMs);
      } else if (answer.status === 429 || answer.status === 503) {
        // Its agent comes back in its next turn.
        meter.counts.refused += 1;
      } else {
        throw new Error(`the service answered ${answer.status}`);
      }
    }
  }
  connection.close();
}

function reportOf(seq: number, holdS: number): string {
  const wait = holdS === 0 ? '' : `wait ${holdS}\n`;
  return `boot 00000000-0000-4000-8000-000000000001\nseq ${seq}\ncapacity 16000 65536\nused ${(seq * 997) % 16_000} 8192\nuncordon 0\n${wait}`;
}

const orders = JSON.parse(await text(process.stdin)) as SwarmOrders;
const meter = { counts: new Counts() };
const startMs = performance.now();
const agents =
  orders.connections > 0
    ? Promise.all(
        Array.from({ length: orders.connections }, async (_, index) => await carry(index, orders, startMs, meter)),
      )
    : Promise.all(orders.tokens.map(async (_token, index) => await live(index, orders, startMs, meter)));
await Promise.race([sleep(orders.warmUpMs), agents]);
process.stdout.write('measuring\n');
meter.counts = new Counts();
const cpuBefore = process.cpuUsage();
await Promise.race([sleep(orders.measureMs), agents]);
process.stdout.write('measured\n');
const { user, system } = process.cpuUsage(cpuBefore);
const { counts } = meter;
meter.counts = new Counts();
await agents;
const result: SwarmResult = {
  accepted: counts.accepted,
  refused: counts.refused,
  missed: counts.missed,
  p50Ms: quantile(counts.latenciesMs, 0.5),
  p99Ms: quantile(counts.latenciesMs, 0.99),
  maxMs: quantile(counts.latenciesMs, 1),
  cpuCores: (user + system) / 1000 / orders.measureMs,
};
process.stdout.write(`result ${JSON.stringify(result)}\n`);
