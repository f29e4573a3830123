import { describe, expect, test } from 'vitest';
import { policyHash } from '../../src/policy/hash.ts';
import { parsePolicy } from '../../src/policy/parse.ts';
import { issueLines } from './mistakes.ts';

const WINDOWS = `apiVersion: spillway.dev/v1
kind: WorkloadPolicy
metadata: { name: render }
spec:
  demand: { utilization: { target: 75% } }
  burst:
    region: eu-central-1
    subnets: [subnet-0a1b]
    image: { x86_64: ami-0123 }
    license: { perVcpuHour: 0.046 }
    budget: { hourly: 40 }
  join:
    ssh: { user: administrator, identity: { file: /etc/spillway/id } }
    recipe: { shell: powershell, script: join.ps1 }
`;

function edited(passage: string, replacement: string): string {
  expect(WINDOWS).toContain(passage);
  return WINDOWS.replace(passage, () => replacement);
}

function policyOf(text: string) {
  const result = parsePolicy(text, { file: '/p/p.yaml', checkFiles: false });
  if (!result.ok) throw new Error(JSON.stringify(result.issues));
  return result.policy;
}

describe('a policy for machines with Windows', () => {
  test('is read as it is written', () => {
    const { join, burst } = policyOf(WINDOWS);
    expect(join.recipe).toEqual({ shell: 'powershell', script: '/p/join.ps1', env: {} });
    expect(burst.license).toEqual({ usdPerVcpuHour: 0.046 });
    expect(policyOf(edited('0.046', '0')).burst.license).toEqual({ usdPerVcpuHour: 0 });
  });

  test('that says what is the default has the hash of one that says nothing', () => {
    const plain = edited('    license: { perVcpuHour: 0.046 }\n', '').replace(
      'shell: powershell, script: join.ps1',
      'script: j.sh',
    );
    const said = plain.replace('script: j.sh', 'shell: sh, script: j.sh');
    expect(policyHash(policyOf(said))).toBe(policyHash(policyOf(plain)));
    expect(policyHash(policyOf(WINDOWS))).not.toBe(policyHash(policyOf(edited('0.046', '0'))));
  });

  test.each<[string, string, string]>([
    [
      'join.ps1',
      'join.sh',
      '14:42 POLICY_CONFLICT spec.join.recipe.script | the script is for PowerShell, and its name does not end with .ps1 | name a script of PowerShell, such as join.ps1, or delete shell',
    ],
    [
      '{ user: administrator',
      '{ transport: openssh, user: administrator',
      '13:23 POLICY_CONFLICT spec.join.ssh.transport | transport: openssh needs a POSIX shell on the machine | write transport: ssh2, or leave it out',
    ],
    [
      '{ user: administrator',
      '{ hostKey: console, user: administrator',
      '13:21 POLICY_CONFLICT spec.join.ssh.hostKey | a machine with Windows prints no host key on its console, and certificates need transport: openssh | write injected or known',
    ],
    [
      'administrator',
      'administrator-of-all-of-it',
      '13:18 POLICY_CONFLICT spec.join.ssh.user | Windows has no user names of more than 20 characters | write a shorter one, such as administrator',
    ],
    [
      '{ file: /etc/spillway/id }',
      '{ instanceConnect: true }',
      '13:62 POLICY_CONFLICT spec.join.ssh.identity.instanceConnect | EC2 Instance Connect brings no keys to Windows | name a key file, or an SSH agent',
    ],
    [
      'x86_64: ami-0123',
      'x86_64: ami-0123, arm64: ami-0456',
      '9:39 POLICY_CONFLICT spec.burst.image.arm64 | EC2 has no Windows for arm64 | delete it, and name an image for x86_64',
    ],
    [
      '    budget',
      '    market: { spot: 50% }\n    budget',
      '11:21 POLICY_CONFLICT spec.burst.market.spot | spot prices of Windows are not known, so that no spot machine can be paid for | write 0%, or leave it out',
    ],
    [
      '{ utilization: { target: 75% } }',
      '{ queue: { maxWait: 60s } }',
      '5:13 POLICY_CONFLICT spec.demand.queue | tasks of the queue are scripts for sh, which the agent for Windows does not run | delete queue and headroom; write utilization or a schedule with min, and tell of work by SPILLWAY_PROBE',
    ],
    [
      '    license: { perVcpuHour: 0.046 }\n',
      '',
      '13:22 POLICY_CONFLICT spec.join.recipe.shell | EC2 bills a licence for Windows, and nothing says how much | add `license: { perVcpuHour: 0.046 }` to spec.burst, with what the price list of EC2 says; 0 for a licence of your own',
    ],
    [
      '{ shell: powershell, script: join.ps1 }',
      '{ script: join.sh }',
      '10:5 POLICY_CONFLICT spec.burst.license | license is for images of Windows, and the recipe is not for PowerShell | add `shell: powershell` to spec.join.recipe, or delete it',
    ],
    [
      '0.046',
      '-1',
      '10:29 POLICY_VALUE spec.burst.license.perVcpuHour | "-1" is not an amount of dollars | write a number of US dollars from 0 on, such as 40 or 12.50',
    ],
    [
      'shell: powershell',
      'shell: cmd',
      '14:22 POLICY_VALUE spec.join.recipe.shell | "cmd" is not known here | write one of sh, powershell',
    ],
  ])('with %s as %s is refused at its place', (passage, replacement, expected) => {
    expect(issueLines(edited(passage, replacement))).toEqual([expected]);
  });

  test('allows what only looks like it', () => {
    expect(issueLines(edited('    budget', '    market: { spot: 0% }\n    budget'))).toEqual([]);
    expect(
      issueLines(edited('{ user: administrator', '{ hostKey: known, knownHosts: kh, user: administrator')),
    ).toEqual([]);
  });

  test('is not meant by a script for PowerShell alone', () => {
    const text = edited('    license: { perVcpuHour: 0.046 }\n', '').replace('shell: powershell, ', '');
    expect(issueLines(text)).toEqual([
      '13:23 POLICY_CONFLICT spec.join.recipe.script | the script is for PowerShell, and the recipe is run by sh | add `shell: powershell` beside it, or name a script for sh',
    ]);
  });
});
