import type { Client } from 'pg';

/** A statement that neither answers nor waits for a lock for so long is a bug of the simulation; real milliseconds. */
const HANGS_MS = 60_000;

/**
 * One server process of Postgres and the connection to it. The server itself says when a statement waits for a lock
 * (`log_lock_waits`), and says so only after it has looked for a deadlock: no span of time has to be guessed, so that a busy
 * machine sees the same as an idle one.
 */
export class Backend {
  readonly client: Client;
  readonly pid: number;
  /** Locks that a statement got after it had been said to wait for them. */
  acquired = 0;
  private waits = false;
  private look: () => void = () => undefined;

  private constructor(client: Client, pid: number) {
    this.client = client;
    this.pid = pid;
    client.on('notice', (notice) => {
      const { routine, message = '' } = notice as { readonly routine?: string; readonly message?: string };
      if (routine !== 'ProcSleep') return;
      if (message.includes(' acquired ')) {
        this.acquired += 1;
        this.waits = false;
      }
      if (message.includes(' still waiting for ')) this.waits = true;
      this.look();
    });
  }

  /** @param client connected, with `client_min_messages = log` */
  static async of(client: Client): Promise<Backend> {
    const { rows } = await client.query<{ pid: number }>('select pg_backend_pid() as pid');
    const pid = rows[0]?.pid;
    if (pid === undefined) throw new Error('bug: a session without a process');
    return new Backend(client, pid);
  }

  /** Forgets what was said of the statement before. */
  beginStatement(): void {
    this.waits = false;
  }

  /**
   * Resolves when `asked` has, or when the statement waits for a lock that it asked for after it got the `acquired`th.
   * @throws Error after a minute
   */
  async overOrWaiting(asked: Promise<void>, acquired: number): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    try {
      await new Promise<void>((resolve, reject) => {
        // Made only when it is told: its stack trace would cost more than many a statement.
        timer = setTimeout(() => reject(new Error('bug: a statement neither answers nor waits for a lock')), HANGS_MS);
        this.look = () => {
          if (this.waits && this.acquired >= acquired) resolve();
        };
        asked.then(resolve, reject);
        this.look();
      });
    } finally {
      clearTimeout(timer);
      this.look = () => undefined;
    }
  }
}
