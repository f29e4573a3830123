import type { WorkloadPolicy } from '../model/policy.ts';

/** The type itself lives in `model/`, where the planner may see it; parsing and defaults live here. */
export type { WorkloadPolicy } from '../model/policy.ts';

export const POLICY_ISSUE_CODES = [
  'POLICY_TOO_LARGE',
  'POLICY_SYNTAX',
  'POLICY_YAML_FEATURE',
  'POLICY_DUPLICATE_KEY',
  'POLICY_UNKNOWN_KEY',
  'POLICY_UNSUPPORTED',
  'POLICY_MISSING',
  'POLICY_VALUE',
  'POLICY_CONFLICT',
  'POLICY_FILE_MISSING',
  'POLICY_DUPLICATE_NAME',
] as const;
export type PolicyIssueCode = (typeof POLICY_ISSUE_CODES)[number];

/** One thing wrong in one policy file. */
export interface PolicyIssue {
  readonly code: PolicyIssueCode;
  readonly file: string;
  /** From 1. */
  readonly line: number;
  /** From 1, in UTF-16 units as editors count. */
  readonly column: number;
  /** How much of the line is meant, at least 1. */
  readonly length: number;
  /** Dotted, e.g. `spec.burst.subnets[0]`; empty for the whole document. */
  readonly path: string;
  /** What is wrong: one sentence without a full stop. */
  readonly message: string;
  /** What to write instead: one sentence without a full stop. */
  readonly fix: string;
  /** The offending line as it is in the file. */
  readonly sourceLine: string;
}

export type ParsePolicyResult =
  | { readonly ok: true; readonly policy: WorkloadPolicy }
  | { readonly ok: false; readonly issues: readonly PolicyIssue[] };

export interface LoadedPolicy {
  /** As given, or the folder's path and the file's name. */
  readonly file: string;
  readonly policy: WorkloadPolicy;
  /** `policyHash` of the policy, and of its recipe's texts where files are checked. */
  readonly hash: string;
}

export type LoadPoliciesResult =
  | { readonly ok: true; readonly policies: readonly LoadedPolicy[] }
  | { readonly ok: false; readonly issues: readonly PolicyIssue[] };
