/** Where and how to log in. `hostKey` is not optional: a connection that does not verify the host cannot be expressed. */
export interface ShellTarget {
  readonly host: string;
  readonly port: number;
  readonly user: string;
  /** The one OpenSSH public key the host must prove, e.g. `ssh-ed25519 AAAA...` (a comment may follow). */
  readonly hostKey: string;
  /** Path of the private key to log in with. */
  readonly identityFile: string;
}

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
  readonly signal: string | null;
  /** Standard output and error as they came, cut at the cap, with control characters but newline and tab removed. */
  readonly output: string;
  readonly truncated: boolean;
}

export interface ShellSession {
  upload(files: readonly UploadFile[]): Promise<void>;
  /** Runs `sh -s`-like: `script` is fed on standard input, so that nothing is ever quoted into a command line. */
  runScript(
    script: string,
    options: { readonly deadlineMs: number; readonly outputBytesMax?: number },
  ): Promise<CommandResult>;
}

/**
 * SSH to a machine. Failures are `AppError`s: SSH_UNREACHABLE (try again until the deadline), SSH_AUTH,
 * SSH_HOST_KEY (never try again, never continue), SSH_COMMAND, TIMEOUT.
 */
export interface Shell {
  /** True when something accepts TCP there within `deadlineMs`. Says nothing about who it is. */
  isOpen(host: string, port: number, deadlineMs: number): Promise<boolean>;
  /** Connects, verifies the host, runs `use`, and always closes; everything within `deadlineMs`. */
  withSession<T>(target: ShellTarget, deadlineMs: number, use: (session: ShellSession) => Promise<T>): Promise<T>;
}
