/** What does not go together with machines that run Windows: refused, because it could not work or would be billed otherwise. */
import { report, type Check } from './check.ts';
import { rawAt } from './explain.ts';
import type { PolicyPath } from './source.ts';

const SHELL: PolicyPath = ['spec', 'join', 'recipe', 'shell'];
const LICENSE: PolicyPath = ['spec', 'burst', 'license'];
/** Windows' own limit on the names of local users. */
const USER_CHARS_MAX = 20;

interface Rule {
  readonly at: PolicyPath;
  readonly isBroken: (value: unknown) => boolean;
  readonly message: string;
  readonly fix: string;
}

const WINDOWS_RULES: readonly Rule[] = [
  {
    at: ['spec', 'join', 'recipe', 'script'],
    isBroken: (script) => typeof script === 'string' && !/\.ps1$/i.test(script),
    message: 'the script is for PowerShell, and its name does not end with .ps1',
    fix: 'name a script of PowerShell, such as join.ps1, or delete shell',
  },
  {
    at: ['spec', 'join', 'ssh', 'transport'],
    isBroken: (transport) => transport === 'openssh',
    message: 'transport: openssh needs a POSIX shell on the machine',
    fix: 'write transport: ssh2, or leave it out',
  },
  {
    at: ['spec', 'join', 'ssh', 'hostKey'],
    isBroken: (mode) => mode === 'console' || mode === 'ca',
    message: 'a machine with Windows prints no host key on its console, and certificates need transport: openssh',
    fix: 'write injected or known',
  },
  {
    at: ['spec', 'join', 'ssh', 'user'],
    isBroken: (user) => typeof user === 'string' && user.length > USER_CHARS_MAX,
    message: `Windows has no user names of more than ${USER_CHARS_MAX} characters`,
    fix: 'write a shorter one, such as administrator',
  },
  {
    at: ['spec', 'join', 'ssh', 'identity', 'instanceConnect'],
    isBroken: (asked) => asked === true,
    message: 'EC2 Instance Connect brings no keys to Windows',
    fix: 'name a key file, or an SSH agent',
  },
  {
    at: ['spec', 'burst', 'image', 'arm64'],
    isBroken: (image) => image !== undefined,
    message: 'EC2 has no Windows for arm64',
    fix: 'delete it, and name an image for x86_64',
  },
  {
    at: ['spec', 'burst', 'market', 'spot'],
    isBroken: (share) => typeof share === 'string' && Number.parseFloat(share) > 0,
    message: 'spot prices of Windows are not known, so that no spot machine can be paid for',
    fix: 'write 0%, or leave it out',
  },
  {
    at: ['spec', 'demand', 'queue'],
    isBroken: (queue) => (queue ?? null) !== null,
    message: 'tasks of the queue are scripts for sh, which the agent for Windows does not run',
    fix: 'delete queue and headroom; write utilization or a schedule with min, and tell of work by SPILLWAY_PROBE',
  },
  {
    at: LICENSE,
    isBroken: (license) => (license ?? null) === null,
    message: 'EC2 bills a licence for Windows, and nothing says how much',
    fix: 'add `license: { perVcpuHour: 0.046 }` to spec.burst, with what the price list of EC2 says; 0 for a licence of your own',
  },
];

/** Every key that does not go together with `shell: powershell`, and what goes with nothing else. */
export function checkWindows(check: Check): void {
  const { root } = check.tree;
  const shell = rawAt(root, SHELL) ?? 'sh';
  if (shell === 'powershell') {
    for (const { at, isBroken, ...what } of WINDOWS_RULES) {
      // What is missing is told at the key that asks for it.
      if (isBroken(rawAt(root, at))) report(check, at === LICENSE ? SHELL : at, { code: 'POLICY_CONFLICT', ...what });
    }
    return;
  }
  // Another word is refused as such, and may have been meant as either.
  if (shell !== 'sh') return;
  if ((rawAt(root, LICENSE) ?? null) !== null) {
    const message = 'license is for images of Windows, and the recipe is not for PowerShell';
    report(check, LICENSE, {
      code: 'POLICY_CONFLICT',
      message,
      fix: 'add `shell: powershell` to spec.join.recipe, or delete it',
    });
  }
  const scriptAt = ['spec', 'join', 'recipe', 'script'];
  const script = rawAt(root, scriptAt);
  if (typeof script !== 'string' || !/\.ps1$/i.test(script)) return;
  const message = 'the script is for PowerShell, and the recipe is run by sh';
  report(check, scriptAt, {
    code: 'POLICY_CONFLICT',
    message,
    fix: 'add `shell: powershell` beside it, or name a script for sh',
  });
}
