/**
 * The common frame in which scalers are compared. Tasks neither move nor die; the queue is first come first served, where a
 * later task goes ahead when an earlier one does not fit; local agents are filled first, then cloud nodes, each time the place
 * with the fewest free cores that holds the task. A node takes tasks `bootS` after its launch and is billed from launch to
 * end by the second, for a minute at least. Deterministic: the same input gives the same figures.
 */
import { BILLED_MIN_MS, costOfSeconds, nanoUsdFromNumber, nanoUsdToNumber } from '../model/money.ts';
import { SECOND_MS } from '../model/time.ts';
import { EventHeap } from './event-heap.ts';
import { PendingQueue } from './pending-queue.ts';
import { RoomIndex } from './room-index.ts';
import { CloudNode, Place } from './places.ts';
import type { ReplayInput, ReplayOutcome } from './replay-types.ts';
import type { Decision, NodeView, ScalerView } from './scaler.ts';
import type { Levels } from './timeline.ts';
import { Timeline } from './timeline.ts';
import type { Amount, NodeType, TraceTask } from './types.ts';
import { NOTHING, addAmounts, amountFits, scaleAmount, subtractAmounts } from './types.ts';

const BOOT_S = 60;
const BILLED_S_MIN = BILLED_MIN_MS / SECOND_MS;
/** A scaler that keeps nodes for ever is stopped so long after the last task; they are billed until then. */
const SETTLE_S = 3600;
/** Tasks that wait while nothing at all has happened for so long are given up. */
const STALL_S = 7 * 86_400;
const LAUNCH_MAX = 100_000;

/** One replay that is stepped through, so that whoever runs it can show progress and stop it. */
export class Replay implements ScalerView {
  readonly nodes: Iterable<NodeView>;
  readonly locals: readonly Place[];
  nowS: number;
  readonly #input: ReplayInput;
  readonly #bootS: number;
  readonly #untilS: number;
  readonly #tasks: readonly TraceTask[];
  readonly #placeOf: (Place | null)[];
  readonly #waitsS: Float64Array;
  readonly #ranInCloud: Uint8Array;
  readonly #events = new EventHeap();
  readonly #pending: PendingQueue;
  readonly #localRoom = new RoomIndex<Place>();
  readonly #cloudRoom = new RoomIndex<CloudNode>();
  readonly #live = new Map<number, CloudNode>();
  readonly #idle = new Map<number, CloudNode>();
  readonly #timeline: Timeline;
  readonly #fits = new Map<Amount, { readonly local: boolean; readonly cloud: boolean }>();
  #newRoom: Place[] = [];
  #nextTask = 0;
  #running = 0;
  #done = 0;
  #impossible = 0;
  #launches = 0;
  #terminations = 0;
  #nodesMax = 0;
  #nano = 0n;
  #machineSeconds = 0;
  #cloudWork = NOTHING;
  #decisions = 0;
  /** Something happened that the scaler has not seen. */
  #isNews = true;
  /** Without news the scaler need not be asked before this. */
  #quietUntilS = 0;
  #decidedAtS = -Infinity;
  #lastNewsS: number;
  #isOver = false;

  constructor(input: ReplayInput) {
    this.#input = input;
    this.#bootS = input.bootS ?? BOOT_S;
    this.#untilS = input.untilS ?? Infinity;
    this.#tasks = input.tasks;
    this.nowS = input.tasks[0]?.submitS ?? 0;
    this.#lastNewsS = this.nowS;
    this.#placeOf = Array.from({ length: input.tasks.length }, () => null);
    this.#waitsS = new Float64Array(input.tasks.length).fill(NaN);
    this.#ranInCloud = new Uint8Array(input.tasks.length);
    this.#pending = new PendingQueue(input.tasks);
    this.nodes = { [Symbol.iterator]: () => this.#live.values() };
    this.locals = input.locals.map((capacity, id) => new Place(id, capacity));
    for (const local of this.locals) this.#localRoom.add(local);
    const end = Math.min(this.#untilS, lastEnd(input.tasks));
    this.#timeline = new Timeline(this.nowS, end, input.samples ?? 0);
  }

  get nodeCount(): number {
    return this.#live.size;
  }

  /** Tasks that are done, of all. */
  get progress(): { readonly done: number; readonly all: number } {
    return { done: this.#done + this.#impossible, all: this.#tasks.length };
  }

  pending(): ReturnType<ScalerView['pending']> {
    return this.#pending.groups();
  }

  idleNodes(): readonly NodeView[] {
    return [...this.#idle.values()];
  }

  /** Goes on for so many moments at most; true when the replay is over. */
  step(momentsMax: number): boolean {
    for (let moment = 0; moment < momentsMax && !this.#isOver; moment += 1) this.#advance();
    return this.#isOver;
  }

  /** The figures; only once it is over. */
  outcome(): ReplayOutcome {
    if (!this.#isOver) throw new Error('bug: the replay is not over');
    const waits = this.#waitsS.slice(0, this.#nextTask).filter((wait) => !Number.isNaN(wait));
    return {
      costUsd: nanoUsdToNumber(this.#nano),
      tasks: this.#nextTask,
      tasksDone: this.#done,
      tasksImpossible: this.#impossible,
      waitsS: waits,
      launches: this.#launches,
      terminations: this.#terminations,
      nodesMax: this.#nodesMax,
      machineHours: this.#machineSeconds / 3600,
      cloudWork: this.#cloudWork,
      ranInCloud: this.#ranInCloud,
      startedAtS: this.#tasks[0]?.submitS ?? 0,
      endedAtS: this.nowS,
      decisions: this.#decisions,
      timeline: this.#timeline,
    };
  }

  /** To the next moment at which something happens or is decided. */
  #advance(): void {
    const eventS = Math.min(this.#events.nextS, this.#tasks[this.#nextTask]?.submitS ?? Infinity);
    const tickS = this.#nextTickS();
    const nextS = Math.min(eventS, tickS);
    if (nextS > this.#untilS || nextS === Infinity || this.#isEnough(nextS)) return this.#finish();
    this.#timeline.record(nextS, (atS) => this.#levels(atS));
    this.nowS = nextS;
    if (eventS === nextS) this.#happen();
    // What just happened at this very moment may make it a tick.
    if (this.#nextTickS() === nextS) this.#decide();
  }

  #isEnough(nextS: number): boolean {
    const isAllRun = this.#nextTask === this.#tasks.length && this.#running === 0;
    if (isAllRun && this.#pending.isEmpty) return this.#live.size === 0 || nextS > this.#lastNewsS + SETTLE_S;
    return nextS > this.#lastNewsS + STALL_S && this.#running === 0 && this.#nextTask === this.#tasks.length;
  }

  #nextTickS(): number {
    const { tickS } = this.#input.scaler;
    const fromS = this.#isNews ? this.nowS : Math.max(this.nowS, this.#quietUntilS);
    const tick = Math.ceil(fromS / tickS) * tickS;
    return tick > this.#decidedAtS ? tick : tick + tickS;
  }

  #happen(): void {
    this.#isNews = true;
    this.#lastNewsS = this.nowS;
    while (this.#events.nextS === this.nowS) {
      const payload = this.#events.pop();
      if (payload >= 0) this.#endTask(payload);
      else this.#nodeReady(-payload - 1);
    }
    while (this.#tasks[this.#nextTask]?.submitS === this.nowS) this.#arrive();
    this.#placePending();
  }

  #placePending(): void {
    const room = this.#newRoom.map(({ free }) => free);
    this.#newRoom = [];
    this.#pending.placeAll(room, (index) => this.#place(index));
  }

  #arrive(): void {
    const index = this.#nextTask;
    this.#nextTask += 1;
    const task = this.#tasks[index];
    if (task === undefined) return;
    const isPossible = this.#isPossible(task);
    if (isPossible) this.#pending.add(index);
    else this.#impossible += 1;
  }

  #isPossible({ need, staysLocal }: TraceTask): boolean {
    const holds = (capacity: Amount): boolean => amountFits(need, capacity);
    let known = this.#fits.get(need);
    if (known === undefined) {
      known = {
        local: this.#input.locals.some(holds),
        cloud: this.#input.types.some(({ capacity }) => holds(capacity)),
      };
      this.#fits.set(need, known);
    }
    return known.local || (known.cloud && staysLocal !== true);
  }

  #place(index: number): boolean {
    const task = this.#tasks[index];
    if (task === undefined) throw new Error(`bug: no task ${index}`);
    const local = this.#localRoom.find(task.need);
    const cloud = local === null && task.staysLocal !== true ? this.#cloudRoom.find(task.need) : null;
    const place = local ?? cloud;
    if (place === null) return false;
    if (cloud !== null) {
      this.#ranInCloud[index] = 1;
      this.#idle.delete(cloud.id);
      cloud.idleSinceS = null;
    }
    this.#setFree(place, subtractAmounts(place.free, task.need));
    place.runningTasks += 1;
    this.#running += 1;
    this.#placeOf[index] = place;
    this.#waitsS[index] = this.nowS - task.submitS;
    this.#events.push(this.nowS + task.runS, index);
    return true;
  }

  #endTask(index: number): void {
    const task = this.#tasks[index];
    const place = this.#placeOf[index] ?? null;
    if (task === undefined || place === null) throw new Error(`bug: task ${index} ends and never ran`);
    this.#setFree(place, addAmounts(place.free, task.need));
    place.runningTasks -= 1;
    this.#running -= 1;
    this.#done += 1;
    this.#placeOf[index] = null;
    if (!(place instanceof CloudNode)) this.#newRoom.push(place);
    else {
      if (!place.cordoned) this.#newRoom.push(place);
      this.#cloudWork = addAmounts(this.#cloudWork, scaleAmount(task.need, task.runS));
      if (place.runningTasks === 0) this.#becomeIdle(place);
    }
  }

  #nodeReady(id: number): void {
    const node = this.#live.get(id);
    if (node === undefined) return;
    node.state = 'ready';
    this.#becomeIdle(node);
    if (!node.cordoned) this.#openRoom(node);
  }

  #becomeIdle(node: CloudNode): void {
    node.idleSinceS = this.nowS;
    this.#idle.set(node.id, node);
  }

  #setFree(place: Place, free: Amount): void {
    if (place instanceof CloudNode) {
      if (!place.cordoned) this.#cloudRoom.remove(place);
      place.free = free;
      if (!place.cordoned) this.#cloudRoom.add(place);
    } else {
      this.#localRoom.remove(place);
      place.free = free;
      this.#localRoom.add(place);
    }
  }

  #decide(): void {
    this.#isNews = false;
    this.#decidedAtS = this.nowS;
    this.#decisions += 1;
    const decision: Decision = this.#input.scaler.decide(this);
    for (const id of decision.terminate) this.#terminate(id);
    for (const id of decision.cordon ?? []) this.#cordon(id);
    for (const id of decision.uncordon ?? []) this.#uncordon(id);
    for (const { type, count } of decision.launch) this.#launch(type, count);
    this.#quietUntilS = decision.quietUntilS ?? this.nowS;
    if (this.#newRoom.length > 0) this.#placePending();
  }

  #cordon(id: number): void {
    const node = this.#liveNode(id);
    if (node.cordoned) return;
    if (node.state === 'ready') this.#cloudRoom.remove(node);
    node.cordoned = true;
  }

  #uncordon(id: number): void {
    const node = this.#liveNode(id);
    if (!node.cordoned) return;
    node.cordoned = false;
    if (node.state === 'ready') this.#openRoom(node);
  }

  #openRoom(node: CloudNode): void {
    this.#cloudRoom.add(node);
    this.#newRoom.push(node);
  }

  #liveNode(id: number): CloudNode {
    const node = this.#live.get(id);
    if (node === undefined) throw new Error(`bug: ${this.#input.scaler.name} names node ${id}, which is gone`);
    return node;
  }

  #launch(type: NodeType, count: number): void {
    if (count > LAUNCH_MAX) throw new Error(`bug: ${this.#input.scaler.name} launches ${count} nodes at once`);
    for (let made = 0; made < count; made += 1) {
      const times = { launchedAtS: this.nowS, readyAtS: this.nowS + this.#bootS };
      const node = new CloudNode(this.#launches, type, times);
      this.#launches += 1;
      this.#live.set(node.id, node);
      this.#events.push(node.readyAtS, -node.id - 1);
    }
    this.#nodesMax = Math.max(this.#nodesMax, this.#live.size);
  }

  #terminate(id: number): void {
    const node = this.#liveNode(id);
    if (node.runningTasks > 0) throw new Error(`bug: ${this.#input.scaler.name} ends node ${id}, which is at work`);
    this.#terminations += 1;
    this.#bill(node);
    this.#live.delete(id);
    this.#idle.delete(id);
    if (node.state === 'ready' && !node.cordoned) this.#cloudRoom.remove(node);
  }

  #bill(node: CloudNode): void {
    const seconds = this.nowS - node.launchedAtS;
    this.#machineSeconds += seconds;
    const billed = Math.max(BILLED_S_MIN, Math.ceil(seconds));
    this.#nano += costOfSeconds(nanoUsdFromNumber(node.type.priceUsdPerHour), billed);
  }

  /** When the world ends, the same for a scaler that is asked at every tick and for one that wants quiet. */
  #endS(): number {
    if (this.#running > 0 || this.#nextTask < this.#tasks.length) return Infinity;
    if (!this.#pending.isEmpty) return this.#lastNewsS + STALL_S;
    return this.#live.size > 0 ? this.#lastNewsS + SETTLE_S : this.nowS;
  }

  /** Everything that still lives is billed until now; what still waits has waited until now. */
  #finish(): void {
    this.#isOver = true;
    this.nowS = Math.max(this.nowS, Math.min(this.#untilS, this.#endS()));
    this.#timeline.record(this.nowS, (atS) => this.#levels(atS));
    for (const node of this.#live.values()) this.#bill(node);
    for (const index of this.#pending.groups().flatMap((group) => group.indices())) {
      this.#waitsS[index] = this.nowS - (this.#tasks[index]?.submitS ?? this.nowS);
    }
    for (const [index, place] of this.#placeOf.entries()) {
      const task = this.#tasks[index];
      if (!(place instanceof CloudNode) || task === undefined) continue;
      const ranS = this.nowS - task.submitS - (this.#waitsS[index] ?? 0);
      this.#cloudWork = addAmounts(this.#cloudWork, scaleAmount(task.need, ranS));
    }
  }

  #levels(atS: number): Levels {
    let cloudCpuMilli = 0;
    let cloudUsedMilli = 0;
    let spentUsd = nanoUsdToNumber(this.#nano);
    for (const { capacity, free, type, launchedAtS } of this.#live.values()) {
      cloudCpuMilli += capacity.cpuMilli;
      cloudUsedMilli += capacity.cpuMilli - free.cpuMilli;
      spentUsd += (type.priceUsdPerHour * (atS - launchedAtS)) / 3600;
    }
    let localUsedMilli = 0;
    for (const { capacity, free } of this.locals) localUsedMilli += capacity.cpuMilli - free.cpuMilli;
    let pendingMilli = 0;
    for (const { need, count } of this.#pending.groups()) pendingMilli += need.cpuMilli * count;
    return { localUsedMilli, cloudUsedMilli, cloudCpuMilli, pendingMilli, spentUsd };
  }
}

function lastEnd(tasks: readonly TraceTask[]): number {
  return tasks.reduce((end, { submitS, runS }) => Math.max(end, submitS + runS), 0);
}

/** Replays a trace to its end. */
export function replay(input: ReplayInput): ReplayOutcome {
  const run = new Replay(input);
  while (!run.step(1_000_000));
  return run.outcome();
}
