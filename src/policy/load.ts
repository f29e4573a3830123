import { isUtf8 } from 'node:buffer';
import { open, readFile, readdir, stat } from 'node:fs/promises';
import path from 'node:path';
import { AppError, describeError } from '../model/errors.ts';
import type { WorkloadPolicy } from '../model/policy.ts';
import { spanAt } from './explain.ts';
import { policyHash } from './hash.ts';
import { readPolicy } from './parse.ts';
import type { PolicyRead } from './parse.ts';
import { issueAt, makeSource } from './source.ts';
import type { IssueText } from './source.ts';
import type { LoadPoliciesResult, LoadedPolicy, PolicyIssue } from './types.ts';
import { POLICY_BYTES_MAX } from './yaml-scan.ts';

/** More workloads than one service plans for; a folder with more is not a folder of policies. */
const POLICY_FILES_MAX = 500;

/**
 * Reads policies from files and from folders (their `*.yaml` and `*.yml`, not deeper, in the order of their names).
 * Problems inside files are issues; throws `POLICY_UNREADABLE` when a path cannot be read at all.
 * A folder without policies gives an empty list.
 */
export async function loadPolicies(
  paths: readonly string[],
  options: { readonly checkFiles: boolean },
): Promise<LoadPoliciesResult> {
  const files = [...new Set((await Promise.all(paths.map(policyFilesIn))).flat())];
  if (files.length > POLICY_FILES_MAX) {
    throw new AppError(
      'POLICY_UNREADABLE',
      `${files.length} policy files are more than the ${POLICY_FILES_MAX} that can be loaded`,
      {
        remedy: 'Name a folder that holds policies only.',
      },
    );
  }
  const policies: LoadedPolicy[] = [];
  const issues: PolicyIssue[] = [];
  for (const file of files) {
    const text = await readPolicyText(file);
    if (typeof text !== 'string') {
      issues.push(text);
      continue;
    }
    const read = readPolicy(text, { file, ...options });
    if (!read.result.ok) {
      issues.push(...read.result.issues);
      continue;
    }
    const { policy } = read.result;
    const twin = policies.find((loaded) => loaded.policy.name === policy.name);
    if (twin !== undefined) {
      issues.push(duplicateName(read, twin));
      continue;
    }
    const recipe = options.checkFiles ? await readRecipe(policy) : [];
    policies.push({ file, policy, hash: policyHash(policy, recipe) });
  }
  return issues.length > 0 ? { ok: false, issues } : { ok: true, policies };
}

/** Its texts, the script first. What joins is read anew at each join; here it tells one policy from another. */
async function readRecipe({ join: { recipe } }: WorkloadPolicy): Promise<readonly Uint8Array[]> {
  if (recipe.script === null) return [];
  return await Promise.all(
    [recipe.script, ...(recipe.files ?? [])].map(async (file) => {
      try {
        return await readFile(file);
      } catch (error) {
        throw unreadable(file, error);
      }
    }),
  );
}

function duplicateName(read: PolicyRead, twin: LoadedPolicy): PolicyIssue {
  const at = ['metadata', 'name'];
  return issueAt(read.source, spanAt(read.tree, at), at, {
    code: 'POLICY_DUPLICATE_NAME',
    message: `${twin.file} already holds a policy named ${twin.policy.name}`,
    fix: 'give one of the two another name, or delete it',
  });
}

async function policyFilesIn(given: string): Promise<string[]> {
  try {
    if (!(await stat(given)).isDirectory()) return [given];
    const names = (await readdir(given)).filter((name) => /^[^.].*\.ya?ml$/.test(name));
    return names.toSorted().map((name) => path.join(given, name));
  } catch (error) {
    throw unreadable(given, error);
  }
}

/** The text, or the one issue that says why it is none. Reads no more than a policy may have. */
async function readPolicyText(file: string): Promise<string | PolicyIssue> {
  const bytes = await readStart(file);
  const atStart = (what: IssueText) => issueAt(makeSource(file, ''), { start: 0, end: 1 }, [], what);
  if (bytes.length > POLICY_BYTES_MAX) {
    const message = `the file has more than ${POLICY_BYTES_MAX} bytes`;
    return atStart({
      code: 'POLICY_TOO_LARGE',
      message,
      fix: 'write a smaller policy, or several of them in files of their own',
    });
  }
  if (!isUtf8(bytes))
    return atStart({ code: 'POLICY_SYNTAX', message: 'the file is not UTF-8 text', fix: 'save it as UTF-8' });
  return bytes.toString('utf8');
}

async function readStart(file: string): Promise<Buffer> {
  try {
    await using handle = await open(file, 'r');
    const buffer = Buffer.alloc(POLICY_BYTES_MAX + 1);
    let length = 0;
    // A read may bring less than asked for; nothing more means the end of the file.
    for (let got = -1; got !== 0 && length < buffer.length; length += got) {
      got = (await handle.read(buffer, length, buffer.length - length, length)).bytesRead;
    }
    return buffer.subarray(0, length);
  } catch (error) {
    throw unreadable(file, error);
  }
}

function unreadable(given: string, error: unknown): AppError {
  const code = error instanceof Error && 'code' in error ? String(error.code) : '';
  const reasons: Readonly<Record<string, string>> = {
    ENOENT: 'it does not exist',
    EACCES: 'permission denied',
    EISDIR: 'it is a folder',
  };
  const reason = reasons[code] ?? describeError(error);
  const remedy =
    'Name a policy file or a folder of them (SPILLWAY_POLICIES, or on the command line), readable by this user.';
  return new AppError('POLICY_UNREADABLE', `Cannot read policies from ${given}: ${reason}`, { remedy, cause: error });
}
