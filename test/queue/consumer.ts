import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import type { TaskId } from '../../src/model/ids.ts';
import type { TaskLease, WakeJob, WakeOutcome } from '../../src/ports/queue.ts';
import { until } from '../support/wait.ts';
import type { ConsumerSetup, Order, Word } from './consumer-process.ts';

const PROGRAM = new URL('./consumer-process.ts', import.meta.url);

/** A real process that consumes a store's queues; see consumer-process.ts. */
export class Consumer {
  readonly got: WakeJob[] = [];
  readonly logged: string[] = [];
  readonly #child: ChildProcess;
  readonly #words: Word[] = [];
  #calls = 0;

  private constructor(child: ChildProcess) {
    this.#child = child;
    child.on('message', (word: Word) => {
      this.#words.push(word);
      if (word.word === 'got') this.got.push(word.job as WakeJob);
      if (word.word === 'log') this.logged.push(word.message);
    });
  }

  static async start(setup: ConsumerSetup): Promise<Consumer> {
    const consumer = new Consumer(fork(PROGRAM, [JSON.stringify(setup)], { serialization: 'json' }));
    await until('the other process has opened the queues', () => consumer.#said('open'));
    return consumer;
  }

  /** False when it has crashed or was killed. */
  get lives(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null;
  }

  async consume(): Promise<void> {
    this.#order({ order: 'consume' });
    await until('the other process consumes', () => this.#said('consuming'));
  }

  /** Ends the handler that has waited longest. */
  answer(outcome: WakeOutcome): void {
    this.#order({ order: 'answer', outcome });
  }

  async add(queue: string, taskIds: readonly TaskId[]): Promise<void> {
    await this.#call('add', queue, taskIds);
  }

  async take(queue: string, count: number, leaseMs: number): Promise<readonly TaskLease[]> {
    return (await this.#call('take', queue, count, leaseMs)) as readonly TaskLease[];
  }

  async renew(leases: readonly TaskLease[], leaseMs: number): Promise<readonly TaskId[]> {
    return (await this.#call('renew', leases, leaseMs)) as readonly TaskId[];
  }

  async complete(lease: TaskLease): Promise<boolean> {
    return (await this.#call('complete', lease)) as boolean;
  }

  async release(lease: TaskLease): Promise<boolean> {
    return (await this.#call('release', lease)) as boolean;
  }

  async recoverStalled(): Promise<void> {
    await this.#call('recoverStalled');
  }

  stop(): void {
    this.#child.kill('SIGSTOP');
  }

  goOn(): void {
    this.#child.kill('SIGCONT');
  }

  async kill(): Promise<void> {
    if (!this.lives) return;
    const exited = once(this.#child, 'exit');
    this.#child.kill('SIGKILL');
    await exited;
  }

  async #call(method: Extract<Order, { order: 'call' }>['method'], ...args: unknown[]): Promise<unknown> {
    const call = (this.#calls += 1);
    this.#order({ order: 'call', call, method, args });
    const answer = await until(`the other process answers ${method}`, () =>
      this.#words.find((word) => word.word === 'answered' && word.call === call),
    );
    if (answer.word !== 'answered') throw new Error('bug: an answer is no answer');
    if (answer.error !== undefined) throw new Error(answer.error);
    return answer.value;
  }

  #order(order: Order): void {
    this.#child.send(order);
  }

  #said(what: Word['word']): boolean {
    return this.#words.some(({ word }) => word === what);
  }
}
