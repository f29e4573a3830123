/** What the texts of a policy may look like, and what to say when they do not. */
import type { TextRule } from './fields.ts';

/** A hook or a ready command is a line, not a program: programs belong into `join.recipe.script`. */
const COMMAND_LENGTH_MAX = 4096;
export const NAME: TextRule = {
  pattern: /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/,
  what: 'a name',
  fix: 'write 1 to 63 lower-case letters, digits and hyphens, such as transcode, with a letter or digit at both ends',
  lengthMax: 63,
};
export const QUEUE_NAME: TextRule = {
  pattern: /^[A-Za-z0-9][A-Za-z0-9._-]*$/,
  what: 'a queue name',
  fix: 'write letters, digits, dots, hyphens and underscores, such as transcode',
  lengthMax: 100,
};
export const REGION: TextRule = {
  pattern: /^[a-z]{2,}(-[a-z]+)+-\d+$/,
  what: 'an AWS region',
  fix: 'write a region such as eu-central-1 (without the letter of a zone)',
  lengthMax: 32,
};
export const SUBNET: TextRule = {
  pattern: /^subnet-[0-9a-z-]+$/,
  what: 'a subnet id',
  fix: 'write the id of a subnet, such as subnet-0a1b2c3d4e5f60718',
  lengthMax: 64,
};
export const SECURITY_GROUP: TextRule = {
  pattern: /^sg-[0-9a-z-]+$/,
  what: 'a security group id',
  fix: 'write the id of a security group, such as sg-0a1b2c3d4e5f60718',
  lengthMax: 64,
};
export const IMAGE: TextRule = {
  pattern: /^ami-[0-9a-z-]+$/,
  what: 'an AMI id',
  fix: 'write the id of an image, such as ami-0a1b2c3d4e5f60718',
  lengthMax: 64,
};
export const INSTANCE_PROFILE: TextRule = {
  pattern: /^(arn:[A-Za-z0-9:/+=,.@_-]+|[A-Za-z0-9+=,.@_-]+)$/,
  what: 'an instance profile',
  fix: 'write the name or the ARN of an instance profile',
  lengthMax: 256,
};
export const FAMILY: TextRule = {
  pattern: /^[a-z][a-z0-9-]*$/,
  what: 'an instance family',
  fix: 'write a letter such as c, or a family such as c6a',
  lengthMax: 32,
};
export const TYPE_GLOB: TextRule = {
  pattern: /^[a-z0-9*?.-]+$/,
  what: 'a pattern of instance types',
  fix: 'write a type or a pattern with * and ?, such as t* or "*.metal"',
  lengthMax: 64,
};
export const USER: TextRule = {
  pattern: /^[a-z_][a-z0-9_-]*$/,
  what: 'a user name',
  fix: "write the image's login user, such as ubuntu, admin or ec2-user",
  lengthMax: 32,
};
export const BASTION_HOST: TextRule = {
  pattern: /^[A-Za-z0-9]([A-Za-z0-9.:-]*[A-Za-z0-9])?$/,
  what: 'a host name or address',
  fix: 'write a host name or an address, such as jump.example',
  lengthMax: 253,
};
export const PUBLIC_KEY_OR_FILE: TextRule = {
  pattern: /^(?:ssh-ed25519 AAAA[A-Za-z0-9+/]+={0,2}(?: .*)?|(?!~)[^\0\n ]+)$/,
  what: 'an Ed25519 public key or a file',
  fix: 'write the host key (ssh-ed25519 AAAA...), or the path of a known_hosts file',
  lengthMax: 1024,
};
export const FILE_PATH: TextRule = {
  pattern: /^(?!~)[^\0\n]+$/,
  what: 'a file path',
  fix: 'write a path that starts at / or at the folder of this file (~ is not expanded)',
  lengthMax: 1024,
};
/** It lies on the machine under its own name, which a shell must be able to write as it is. */
export const RECIPE_FILE: TextRule = {
  pattern: /^(?!~)(?:[^\0\n]*\/)?(?!\.{1,2}$)[A-Za-z0-9._@+-]{1,100}$/,
  what: 'a file of a recipe',
  fix: 'write a path whose last part is made of letters, digits and any of . _ @ + - (~ is not expanded)',
  lengthMax: 1024,
};
export const COMMAND: TextRule = {
  pattern: /^[^\0]*\S[^\0]*$/,
  what: 'a command',
  fix: 'write a shell command, or null for none',
  lengthMax: COMMAND_LENGTH_MAX,
};
export const LABEL_NAME: TextRule = {
  pattern: /^[A-Za-z0-9]([A-Za-z0-9._/-]*[A-Za-z0-9])?$/,
  what: 'a label name',
  fix: 'write letters, digits and any of . _ / - between them',
  lengthMax: 63,
};
export const LABEL_VALUE: TextRule = {
  pattern: /^[A-Za-z0-9]([A-Za-z0-9._/-]*[A-Za-z0-9])?$/,
  what: 'a label value',
  fix: 'write letters, digits and any of . _ / - between them',
  lengthMax: 63,
};
export const VARIABLE_NAME: TextRule = {
  pattern: /^[A-Za-z_][A-Za-z0-9_]*$/,
  what: 'the name of an environment variable',
  fix: 'write letters, digits and underscores, such as POOL',
  lengthMax: 128,
};
export const VARIABLE_VALUE: TextRule = {
  pattern: /^[^\0]*$/,
  what: 'the value of an environment variable',
  fix: 'write text',
  lengthMax: COMMAND_LENGTH_MAX,
};
