/** The hosts of a running region: one per booted instance, gone without a trace when the instance ends. */
import { watch } from 'node:fs';
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { InstanceView } from '../region.ts';
import { readBootConfig } from './cloud-config.ts';
import type { HostSpec, RunningHost } from './host.ts';
import { consoleText, controlDirectory, prepareDirectory } from './host.ts';
import { startOpensshHost } from './openssh-host.ts';
import { killInstanceProcesses } from './processes.ts';
import { startSsh2Host } from './ssh2-host.ts';

export type HostKind = 'ssh2' | 'openssh';

export interface HostFleetOptions {
  readonly kind: HostKind;
  readonly port: number;
  /** Folder that holds one folder per instance. */
  readonly dataDir: string;
  /** PATH of commands on the hosts. */
  readonly path: string;
  /** Public keys that EC2 Instance Connect brought for a user of an instance. */
  readonly pushedKeysOf: (instanceId: string, user: string) => readonly string[];
  /** Base URL of the instance metadata of one instance. */
  readonly imdsUrlOf: (instanceId: string) => string;
  /** A command on the instance asked for its end. */
  readonly onShutdown: (instanceId: string) => void;
  readonly onBooted: (instanceId: string, console: string) => void;
  readonly onError: (error: unknown) => void;
}

/** Starts and ends of one instance never overlap: each waits for the one before. */
export class HostFleet {
  private readonly options: HostFleetOptions;
  private readonly turns = new Map<string, Promise<void>>();
  private readonly hosts = new Map<string, () => Promise<void>>();

  constructor(options: HostFleetOptions) {
    this.options = options;
  }

  boot(view: InstanceView): void {
    this.enqueue(view.instanceId, () => this.start(view));
  }

  /** Ends the host and every process of the instance; also removes its files unless the instance only stops. */
  end(instanceId: string, keepFiles: boolean): void {
    this.enqueue(instanceId, () => this.stop(instanceId, keepFiles));
  }

  /** Ends every host and waits until all are gone. */
  async endAll(): Promise<void> {
    for (const instanceId of new Set([...this.turns.keys(), ...this.hosts.keys()])) this.end(instanceId, false);
    await Promise.all(this.turns.values());
  }

  private enqueue(instanceId: string, act: () => Promise<void>): void {
    const before = this.turns.get(instanceId) ?? Promise.resolve();
    const turn = before
      .then(act)
      .catch(this.options.onError)
      .finally(() => {
        if (this.turns.get(instanceId) === turn) this.turns.delete(instanceId);
      });
    this.turns.set(instanceId, turn);
  }

  private directoryOf(instanceId: string): string {
    return join(this.options.dataDir, instanceId);
  }

  private async start(view: InstanceView): Promise<void> {
    const { kind, port, path, imdsUrlOf, pushedKeysOf, onBooted, onError } = this.options;
    const directory = this.directoryOf(view.instanceId);
    await mkdir(directory, { recursive: true, mode: 0o755 });
    const boot = readBootConfig(view.userData);
    const publicKey = await prepareDirectory(directory, boot.hostKeyPrivate);
    const spec: HostSpec = {
      instanceId: view.instanceId,
      address: view.privateIp,
      port,
      directory,
      vcpus: view.vcpus,
      memoryMib: view.memoryMib,
      gpus: view.gpus,
      arch: view.arch,
      authorizedKeys: boot.authorizedKeys,
      pushedKeys: (user) => pushedKeysOf(view.instanceId, user),
      path,
      imdsUrl: imdsUrlOf(view.instanceId),
      onError,
    };
    const host = await (kind === 'openssh' ? startOpensshHost(spec) : startSsh2Host(spec));
    this.hosts.set(view.instanceId, this.closer(view.instanceId, host));
    onBooted(view.instanceId, consoleText(view.privateIp, publicKey, boot.problem));
  }

  /** Watches for a `shutdown` from inside as long as the host is up. */
  private closer(instanceId: string, host: RunningHost): () => Promise<void> {
    const watcher = watch(controlDirectory(this.directoryOf(instanceId)), (_event, name) => {
      if (name === 'shutdown') this.options.onShutdown(instanceId);
    });
    watcher.on('error', this.options.onError);
    return async () => {
      watcher.close();
      await host.close();
    };
  }

  private async stop(instanceId: string, keepFiles: boolean): Promise<void> {
    const directory = this.directoryOf(instanceId);
    const close = this.hosts.get(instanceId);
    this.hosts.delete(instanceId);
    // The listener first, so that nobody logs in while the processes are hunted.
    await close?.();
    if (!(await killInstanceProcesses(instanceId, directory))) {
      this.options.onError(new Error(`processes of ${instanceId} outlive every attempt to kill them`));
    }
    if (!keepFiles) await rm(directory, { recursive: true, force: true, maxRetries: 5 });
  }
}
