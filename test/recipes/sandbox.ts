/** A machine for recipes to run on: a folder for its files, and a search path of programs that only write down how they were called. */
import { spawnSync } from 'node:child_process';
import {
  accessSync,
  constants,
  copyFileSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { renderEnvFile } from '../../src/ssh/quote.ts';

export const RECIPES = fileURLToPath(new URL('../../examples/recipes/', import.meta.url));

/** What recipes may take for granted on every machine. */
const REAL_PROGRAMS =
  'awk base64 cat chmod cmp cp find grep head mkdir mv readlink rm sed sha256sum sh sort timeout touch tr'.split(' ');

/** Programs that no machine lacks and that must not touch this one. */
const USUAL: Readonly<Record<string, string>> = {
  'apt-cache': '',
  'apt-get': `[ ! -e "$FAKES/away" ] || exit 100
case " $* " in *' install '*) cp "$FAKES"/packaged/* "$FAKES/bin/"; for word; do echo "$word" >>"$FAKES/installed"; done ;; esac`,
  chown: '',
  curl: `[ ! -e "$FAKES/away" ] || exit 6
to= from=
while [ $# -gt 0 ]; do case $1 in -o) to=$2; shift ;; -K) from=$2; shift ;; --data-binary) cat >>"$FAKES/posted"; shift ;; esac; shift; done
[ -z "$from" ] || [ -r "$from" ] || exit 26
case $to in '') cat "$FAKES/web" ;; /dev/null) ;; *) cat "$FAKES/web" >"$to" ;; esac`,
  dpkg: '',
  'dpkg-query': `for last; do :; done
grep -qx "$last" "$FAKES/installed" && echo 'install ok installed'`,
  hostname: 'echo Node-7',
  id: 'echo 0',
  sleep: '',
  systemctl: `case $1 in
  is-active) grep -qx "$3" "$FAKES/active" ;;
  restart) echo "$2" >>"$FAKES/active" ;;
esac`,
  uname: 'echo x86_64',
};

/** What stands in for every program. */
export const PROGRAM = `#!/bin/sh
{ printf '%s' "\${0##*/}"; for word; do printf ' [%s]' "$word"; done; printf '\\n'; } >>"$FAKES/calls"
. "$FAKES/answers/\${0##*/}"
`;

export interface Outcome {
  readonly exitCode: number | null;
  readonly output: string;
}

export type Shell = readonly string[];

/** The shells that a machine may have as `sh`; those that this one lacks are left out. */
export const SHELLS: readonly (readonly [string, Shell])[] = [
  ['dash', ['dash']] as const,
  ['busybox ash', ['busybox', 'ash']] as const,
  ['bash', ['bash', '--posix']] as const,
].filter(([, [program]]) => findProgram(program) !== null);

export function findProgram(name: string): string | null {
  for (const folder of (process.env['PATH'] ?? '').split(delimiter)) {
    try {
      accessSync(join(folder, name), constants.X_OK);
      return join(folder, name);
    } catch {
      continue;
    }
  }
  return null;
}

export class Sandbox {
  readonly folder = mkdtempSync(join(tmpdir(), 'spillway-recipe-'));
  readonly root = join(this.folder, 'root');
  private readonly shell: Shell;

  constructor(shell: Shell) {
    this.shell = shell;
    for (const name of ['root', 'bin', 'packaged', 'answers', 'home']) mkdirSync(join(this.folder, name));
    for (const name of ['installed', 'active', 'calls', 'web']) writeFileSync(join(this.folder, name), '');
    for (const name of REAL_PROGRAMS) {
      const real = findProgram(name);
      if (real === null) throw new Error(`this machine has no ${name}`);
      symlinkSync(real, join(this.folder, 'bin', name));
    }
    for (const [name, answer] of Object.entries(USUAL)) this.give(name, answer);
  }

  /** A program that is called this; what it does beside being written down is a piece of shell. */
  give(name: string, answer = '', folder: 'bin' | 'packaged' = 'bin'): void {
    writeFileSync(join(this.folder, 'answers', name), `${answer}\n`);
    writeFileSync(join(this.folder, folder, name), PROGRAM, { mode: 0o755 });
  }

  /** From now on a program that is there does this. */
  answer(name: string, answer: string): void {
    writeFileSync(join(this.folder, 'answers', name), `${answer}\n`);
  }

  /** Mirrors and web servers answer no more. */
  cutOff(): void {
    writeFileSync(join(this.folder, 'away'), '');
  }

  comeBack(): void {
    rmSync(join(this.folder, 'away'));
  }

  link(path: string, target: string): void {
    mkdirSync(dirname(join(this.root, path)), { recursive: true });
    symlinkSync(target, join(this.root, path));
  }

  serve(text: string): void {
    writeFileSync(join(this.folder, 'web'), text);
  }

  put(path: string, text: string): void {
    mkdirSync(dirname(join(this.root, path)), { recursive: true });
    writeFileSync(join(this.root, path), text, { mode: 0o600 });
  }

  read(path: string): string {
    return readFileSync(join(this.root, path), 'utf8');
  }

  has(path: string): boolean {
    return existsSync(join(this.root, path));
  }

  /** The configuration that kubeadm joined with. */
  joined(): string {
    return readFileSync(join(this.folder, 'joined'), 'utf8');
  }

  /** What calls of curl sent. */
  posted(): string {
    return readFileSync(join(this.folder, 'posted'), 'utf8');
  }

  /** Every file of the machine with its mode and content. */
  tree(): readonly string[] {
    return readdirSync(this.root, { recursive: true, encoding: 'utf8' })
      .sort()
      .map((path) => {
        const stat = lstatSync(join(this.root, path));
        const mode = (stat.mode & 0o777).toString(8);
        if (stat.isSymbolicLink()) return `${path} -> ${readlinkSync(join(this.root, path))}`;
        return stat.isDirectory() ? `${path}/ ${mode}` : `${path} ${mode} ${this.read(path)}`;
      });
  }

  /** How programs were called since the last question, without those that only look. */
  calls(): readonly string[] {
    const file = join(this.folder, 'calls');
    const lines = readFileSync(file, 'utf8').split('\n');
    writeFileSync(file, '');
    return lines.filter((line) => line !== '' && !/^(apt-cache|dpkg-query|hostname|id|uname|timeout) ?/.test(line));
  }

  /** Settings that the recipe gave the agent. */
  agentSettings(): string {
    return readFileSync(join(this.folder, 'home', 'agent.recipe'), 'utf8');
  }

  /** Runs the recipe as the join does: its files in `recipe/`, its settings as variables that a file exports. */
  join(script: string, files: readonly string[], settings: Readonly<Record<string, string>>): Outcome {
    const home = join(this.folder, 'home');
    mkdirSync(join(home, 'recipe'), { recursive: true });
    copyFileSync(script, join(home, 'recipe.sh'));
    for (const file of files) copyFileSync(file, join(home, 'recipe', basename(file)));
    writeFileSync(join(home, 'recipe.env'), renderEnvFile(settings));
    writeFileSync(join(home, 'agent.recipe'), '');
    const begin = `set -a; . ./recipe.env; SPILLWAY_AGENT_SETTINGS=$PWD/agent.recipe; set +a; exec ${this.shellWords().join(' ')} ./recipe.sh`;
    return this.run(['sh', '-c', begin], home);
  }

  /** Runs what the join left for a hook, the ready command or the probe. */
  half(name: string): Outcome {
    return this.run([...this.shellWords(), join(this.root, 'usr/local/lib/spillway', name)], this.folder);
  }

  /** The machine's search path has no shell but `sh`. */
  private shellWords(): readonly string[] {
    const [program = '', ...rest] = this.shell;
    return [findProgram(program) ?? program, ...rest];
  }

  private run([program = '', ...args]: readonly string[], cwd: string): Outcome {
    const env = {
      PATH: join(this.folder, 'bin'),
      FAKES: this.folder,
      DESTDIR: this.root,
      HOME: join(this.folder, 'home'),
    };
    const real = findProgram(program) ?? program;
    // Longer than any of them takes; no test judges by it.
    const { status, stdout, stderr } = spawnSync(real, args, { cwd, env, encoding: 'utf8', timeout: 60_000 });
    return { exitCode: status, output: `${stdout}${stderr}` };
  }

  [Symbol.dispose](): void {
    rmSync(this.folder, { recursive: true });
  }
}
