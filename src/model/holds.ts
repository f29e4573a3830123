import type { Offering } from './offering.ts';

/**
 * What a refusal of EC2 holds back, from narrow to wide: one type in one zone on one market, a subnet, all types that share
 * a vCPU quota on one market, a region, a workload under its policy. `join`: a type with an image of a workload whose machines
 * did not join, again and again.
 */
export type HoldScope = 'offering' | 'subnet' | 'quota' | 'region' | 'workload' | 'join';

/** Why something is held; the class of the refusal. */
export type HoldClass = 'capacity' | 'quota' | 'auth' | 'config' | 'idempotency' | 'join';

export interface HoldKey {
  readonly scope: HoldScope;
  readonly name: string;
}

/** `open`: not asked for. `half-open`: its time is over, and exactly one launch of one machine may try. `probing`: one does. */
export type HoldState = 'open' | 'half-open' | 'probing';

export interface Hold extends HoldKey {
  readonly state: HoldState;
  readonly errorClass: HoldClass;
  readonly errorCode: string;
  readonly detail: string;
  readonly sinceMs: number;
  /** Null: until the policy changes. */
  readonly untilMs: number | null;
}

/** A key as one text, for sets and logs, e.g. `quota:us-east-1/standard/spot`. */
export function holdKeyText({ scope, name }: HoldKey): string {
  return `${scope}:${name}`;
}

/** Families with a vCPU quota of their own although their names begin like those of the "Standard" quota. */
const OWN_QUOTAS = ['hpc', 'inf', 'trn', 'mac', 'dl'];

/**
 * The vCPU quota that an instance type counts against, by EC2's own groups: "Standard (A, C, D, H, I, M, R, T, Z)", "G and
 * VT", and one each for F, P, X, Inf, Trn, DL, HPC and high memory. A family nobody knows counts for itself.
 */
export function quotaFamilyOf(instanceType: string): string {
  const [letters = ''] = /^[a-z]+/.exec(instanceType) ?? [];
  if (letters === 'u') return 'high-memory';
  if (letters.startsWith('vt') || letters.startsWith('g')) return 'g-and-vt';
  const own = OWN_QUOTAS.find((name) => letters.startsWith(name));
  return own ?? (/^[acdhimrtz]/.test(letters) ? 'standard' : letters);
}

/** An offering as refusals name it. */
export interface HeldOffering extends Pick<Offering, 'zone' | 'subnetId' | 'market'> {
  readonly region: string;
  readonly instanceType: string;
}

/** Every hold that would keep an offering from being launched, the narrowest first. Those of its workload are not among them. */
export function holdKeysOf(offering: HeldOffering): readonly HoldKey[] {
  return (['offering', 'subnet', 'quota', 'region'] as const).map((scope) => ({
    scope,
    name: holdNameOf(offering, scope),
  }));
}

/** What of a machine decides whether it can join, besides the policy. */
export interface JoinedMachine {
  readonly workload: string;
  readonly imageId: string;
  readonly instanceType: string;
}

/** The hold of machines like this one that did not join. */
export function joinHoldKey({ workload, imageId, instanceType }: JoinedMachine): HoldKey {
  return { scope: 'join', name: `${workload}/${imageId}/${instanceType}` };
}

/** Name of what an offering belongs to at one scope. */
export function holdNameOf(offering: HeldOffering, scope: Exclude<HoldScope, 'workload' | 'join'>): string {
  const { region, instanceType, zone, subnetId, market } = offering;
  switch (scope) {
    case 'offering':
      return `${instanceType}/${zone}/${market}`;
    case 'subnet':
      return subnetId;
    case 'quota':
      return `${region}/${quotaFamilyOf(instanceType)}/${market}`;
    case 'region':
      return region;
  }
}
