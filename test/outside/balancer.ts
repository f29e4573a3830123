import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';

/** One server behind the balancer: where it serves, and where it says that it lives. */
export interface Backend {
  readonly port: number;
  /** Its `/livez`; a stopped process takes connections and answers nothing, so that connecting proves little. */
  readonly healthPort: number;
}

const PROBE_EVERY_MS = 250;
const PROBE_MS = 1_000;

/** What a user puts before two services: TCP in turn to whichever lives, and no connection kept to one that does not. */
export class Balancer {
  readonly #server: Server;
  readonly #backends: readonly Backend[];
  readonly #alive = new Set<Backend>();
  readonly #pairs = new Map<Socket, { readonly backend: Backend; readonly behind: Socket }>();
  #turn = 0;
  #closed = false;
  readonly #probing: Promise<unknown>;

  private constructor(server: Server, backends: readonly Backend[]) {
    this.#server = server;
    this.#backends = backends;
    server.on('connection', (socket) => this.#accept(socket));
    this.#probing = Promise.all(backends.map(async (backend) => this.#watch(backend)));
  }

  static async start(backends: readonly Backend[]): Promise<Balancer> {
    const server = createServer({ noDelay: true });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return new Balancer(server, backends);
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  async stop(): Promise<void> {
    this.#closed = true;
    this.#server.close();
    for (const front of this.#pairs.keys()) front.destroy();
    await this.#probing;
  }

  #accept(front: Socket): void {
    const alive = this.#backends.filter((backend) => this.#alive.has(backend));
    const backend = alive[(this.#turn += 1) % Math.max(1, alive.length)];
    if (backend === undefined || this.#closed) {
      front.resetAndDestroy();
      return;
    }
    const behind = connect({ host: '127.0.0.1', port: backend.port, noDelay: true });
    this.#pairs.set(front, { backend, behind });
    const end = (): void => {
      this.#pairs.delete(front);
      front.destroy();
      behind.destroy();
    };
    for (const socket of [front, behind]) socket.on('error', end).on('close', end);
    front.pipe(behind).pipe(front);
  }

  async #watch(backend: Backend): Promise<void> {
    while (!this.#closed) {
      if (await answersLive(backend.healthPort)) this.#alive.add(backend);
      else this.#bury(backend);
      await new Promise((resolve) => setTimeout(resolve, PROBE_EVERY_MS));
    }
  }

  #bury(backend: Backend): void {
    this.#alive.delete(backend);
    for (const [front, pair] of this.#pairs) if (pair.backend === backend) front.destroy();
  }
}

async function answersLive(port: number): Promise<boolean> {
  return await fetch(`http://127.0.0.1:${port}/livez`, { signal: AbortSignal.timeout(PROBE_MS) }).then(
    ({ ok }) => ok,
    () => false,
  );
}
