/** Every way to say wrongly how a host is reached and believed: the exact place, the code, what is said and what to write instead. */
import { describe, expect, test } from 'vitest';
import { edited } from './documents.ts';
import { issueLines } from './mistakes.ts';

describe('one mistake about hosts gives one issue, at its place', () => {
  test.each<[string, string, string]>([
    [
      'file: /etc/spillway/id',
      'file: /etc/spillway/id, agent: true',
      '15:68 POLICY_CONFLICT spec.join.ssh.identity.agent | a key file and an agent are both named | delete one of file and agent',
    ],
    [
      'file: /etc/spillway/id',
      'file: /etc/spillway/id, instanceConnect: true',
      '15:78 POLICY_CONFLICT spec.join.ssh.identity.instanceConnect | a key file and EC2 Instance Connect are both named | delete one of file and instanceConnect',
    ],
    [
      'file: /etc/spillway/id',
      'agent: run/agent, instanceConnect: true',
      '15:72 POLICY_CONFLICT spec.join.ssh.identity.instanceConnect | an agent and EC2 Instance Connect are both named | delete one of agent and instanceConnect',
    ],
    [
      'file: /etc/spillway/id',
      'instanceConnect: "yes"',
      '15:54 POLICY_VALUE spec.join.ssh.identity.instanceConnect | "yes" is neither true nor false | write true or false',
    ],
    [
      'file: /etc/spillway/id',
      'instanceConnect: false',
      '15:25 POLICY_MISSING spec.join.ssh.identity.file | spec.join.ssh.identity.file is required | add `file: /etc/spillway/id_ed25519` (Private key; relative paths start at this file), or `agent: true`, or `instanceConnect: true`',
    ],
    [
      '{ user: admin, identity: { file: /etc/spillway/id } }',
      '{ user: admin, identity: { instanceConnect: true }, bastion: { host: jump.example, user: ops, hostKey: known_hosts } }',
      '15:62 POLICY_CONFLICT spec.join.ssh.bastion | EC2 Instance Connect brings no key to a bastion, and this one has none of its own | add `identity: { file: /etc/spillway/bastion_key }` to it',
    ],
    [
      '{ user: admin, identity: { file: /etc/spillway/id } }',
      '{ user: admin, identity: { instanceConnect: true }, bastion: [{ host: a, user: ops, hostKey: known, identity: { file: id } }, { host: b, user: ops, hostKey: known }] }',
      '15:136 POLICY_CONFLICT spec.join.ssh.bastion[1] | EC2 Instance Connect brings no key to a bastion, and this one has none of its own | add `identity: { file: /etc/spillway/bastion_key }` to it',
    ],
    [
      '  join:',
      '  join:\n    recipe: { files: [a.sh] }',
      '15:22 POLICY_CONFLICT spec.join.recipe.files | files are for the script, and there is none | add script beside it, or delete it',
    ],
    [
      '  join:',
      '  join:\n    recipe: { script: j.sh, files: [a.sh, b/a.sh] }',
      '15:43 POLICY_CONFLICT spec.join.recipe.files[1] | two files are called a.sh, and they lie in one folder of the machine | rename one of them',
    ],
    [
      '  join:',
      '  join:\n    recipe: { script: j.sh, files: ["b/a b.sh"] }',
      '15:37 POLICY_VALUE spec.join.recipe.files[0] | "b/a b.sh" is not a file of a recipe | write a path whose last part is made of letters, digits and any of . _ @ + - (~ is not expanded)',
    ],
    [
      'user: admin',
      'user: admin, hostKey: known',
      '15:34 POLICY_CONFLICT spec.join.ssh.hostKey | hostKey: known needs the file knownHosts | add knownHosts beside it',
    ],
    [
      'user: admin',
      'user: admin, knownHosts: /etc/hosts',
      '15:37 POLICY_CONFLICT spec.join.ssh.knownHosts | knownHosts is read with hostKey: known only | write hostKey: known, or delete it',
    ],
    [
      'user: admin',
      'user: admin, hostKey: ca, hostCa: /etc/hosts',
      '15:34 POLICY_CONFLICT spec.join.ssh.hostKey | the built-in transport cannot check host certificates | add `transport: openssh` beside it',
    ],
    [
      'user: admin',
      'user: admin, bastion: jump.example',
      '15:34 POLICY_VALUE spec.join.ssh.bastion | "jump.example" is not a map | write { host: jump.example, user: ops, hostKey: ssh-ed25519 AAAA... }, or a list of such',
    ],
    [
      'user: admin',
      'user: admin, bastion: { host: jump.example, user: ops }',
      '15:34 POLICY_VALUE spec.join.ssh.bastion | hostKey of a bastion is required | write { host: jump.example, user: ops, hostKey: ssh-ed25519 AAAA... }, or a list of such',
    ],
    [
      'user: admin',
      'user: admin, bastion: [{ host: "-oProxyCommand=id", user: ops, hostKey: known_hosts }]',
      '15:34 POLICY_VALUE spec.join.ssh.bastion | "-oProxyCommand=id" is not a host name or address | write a host name or an address, such as jump.example',
    ],
    [
      'kind: WorkloadPolicy\n',
      '',
      '1:1 POLICY_MISSING kind | kind is required | add `kind: WorkloadPolicy` (What this file is)',
    ],
    [
      'eu-central-1',
      '',
      '9:5 POLICY_VALUE spec.burst.region | the value is missing | write a region such as eu-central-1 (without the letter of a zone)',
    ],
    [
      '{ x86_64: ami-0123 }',
      '',
      '11:5 POLICY_VALUE spec.burst.image | the value is missing | write `image: { x86_64: ami-0a1b2c3d4e5f60718 }`',
    ],
    [
      '{ x86_64: ami-0123 }',
      '{}',
      '11:5 POLICY_MISSING spec.burst.image | there is no image for any architecture | write an AMI for an architecture, such as `image: { x86_64: ami-0a1b2c3d4e5f60718 }`',
    ],
    [
      '[subnet-0a1b]',
      '[]',
      '10:14 POLICY_VALUE spec.burst.subnets | the list is empty | write `subnets: [subnet-0a1b2c3d4e5f60718]`',
    ],
    [
      '{ deadline: 20m }',
      '\n    cooldown:',
      '17:5 POLICY_VALUE spec.drain.cooldown | the value is missing | write its keys below it, indented (scaleUp, scaleDown), or delete the key',
    ],
  ])('%s -> %s', (passage, replacement, expected) => {
    expect(issueLines(edited(passage, replacement))).toEqual([expected]);
  });
});
