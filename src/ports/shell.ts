import type { RecipeShell } from '../model/policy.ts';

/** What a host must prove. There is no other way: a connection that does not verify the host cannot be expressed. */
export type HostTrust =
  /** Any of these OpenSSH public keys, e.g. `ssh-ed25519 AAAA...` (a comment may follow). */
  | { readonly kind: 'keys'; readonly keys: readonly string[] }
  /** A key that the known_hosts file has for the host. */
  | { readonly kind: 'known'; readonly file: string }
  /** A host certificate for the host's address, signed by one of the public keys in the file. */
  | { readonly kind: 'ca'; readonly file: string };

/** A key that stays the same from log-in to log-in. */
export type StandingLogin =
  /** A private key file. */
  | { readonly kind: 'file'; readonly file: string }
  /** The keys of an SSH agent; null = the one that SSH_AUTH_SOCK names. */
  | { readonly kind: 'agent'; readonly socket: string | null };

/**
 * A key pair for one log-in, good for a minute. The shell makes it when it has its turn and has passed every jump host, has its public
 * half pushed, and logs in; nobody else ever sees the private half.
 */
export interface PushedLogin {
  readonly kind: 'pushed';
  /** Makes the host take `ssh-ed25519 AAAA...` for the user of the hop. What it throws ends the attempt as it is. */
  readonly push: (publicKey: string) => Promise<void>;
}

/** What to log in with. */
export type ShellLogin = StandingLogin | PushedLogin;

/** A host and how to log in there. */
export interface ShellHop {
  readonly host: string;
  readonly port: number;
  readonly user: string;
  readonly trust: HostTrust;
  readonly login: ShellLogin;
}

/** A host on the way. It is not one of EC2's that a key could be pushed to. */
export interface ShellJump extends ShellHop {
  readonly login: StandingLogin;
}

/** `ssh2`: in this process. `openssh`: the installed `ssh`, for what only it can (certificates, post-quantum key exchange). */
export type ShellTransport = 'ssh2' | 'openssh';

/** The way to a port. */
export interface ShellRoute extends Pick<ShellHop, 'host' | 'port'> {
  /** Hosts to go through, the first one first; each is verified as strictly as the last. */
  readonly jumps: readonly ShellJump[];
  readonly transport: ShellTransport;
}

/** Where and how to log in. */
export type ShellTarget = ShellHop &
  ShellRoute & {
    /** What runs scripts there; absent = `sh`. */
    readonly shell?: RecipeShell;
  };

export interface UploadFile {
  /** Relative to the home directory of the user; folders are made as needed. */
  readonly path: string;
  readonly content: string;
  /** e.g. 0o700 */
  readonly mode: number;
}

export interface CommandResult {
  /** Null when the command died by a signal. */
  readonly exitCode: number | null;
  /** Over `openssh` an exit code of 128 and more is told as the signal that a shell means by it. */
  readonly signal: string | null;
  /** Standard output and error as they came, cut at the cap, with control characters but newline and tab removed. */
  readonly output: string;
  readonly truncated: boolean;
}

export interface ShellSession {
  upload(files: readonly UploadFile[]): Promise<void>;
  /** Runs `script` in the shell of the target; nothing of it is ever quoted into a command line. */
  runScript(
    script: string,
    options: { readonly deadlineMs: number; readonly outputBytesMax?: number },
  ): Promise<CommandResult>;
}

/**
 * SSH to a machine. Failures are `AppError`s: SSH_UNREACHABLE (try again until the deadline), SSH_AUTH,
 * SSH_HOST_KEY (never try again, never continue), SSH_COMMAND, TIMEOUT; and what pushing a key fails with.
 */
export interface Shell {
  /**
   * True when something accepts TCP there, from here or from the last jump host, within `deadlineMs`. Says nothing about who
   * it is. @throws AppError SSH_HOST_KEY, SSH_AUTH or CONFIG_KEY_FILE of a jump host
   */
  isOpen(route: ShellRoute, deadlineMs: number): Promise<boolean>;
  /** Connects, verifies the host, runs `use`, and always closes; everything within `deadlineMs`. */
  withSession<T>(target: ShellTarget, deadlineMs: number, use: (session: ShellSession) => Promise<T>): Promise<T>;
}
