/** Evaluates the part of IAM's policy language that policies for EC2 need. What it does not know it refuses to load. */
import { matchesGlob } from './glob.ts';

/** What one call asks for: an action on a resource, with the condition keys EC2 fills in. A call makes several of these. */
export interface AuthorizationRequest {
  /** e.g. `ec2:RunInstances` */
  readonly action: string;
  /** ARN, or `*` for actions without resource-level rights. */
  readonly resource: string;
  /** Condition keys in lower case (IAM compares them so), e.g. `aws:requesttag/spillway:owner`. Several values = a set. */
  readonly context: ReadonlyMap<string, readonly string[]>;
}

export interface PolicyStatement {
  readonly sid: string;
  readonly effect: 'Allow' | 'Deny';
  readonly actions: readonly string[];
  readonly resources: readonly string[];
  readonly conditions: readonly PolicyCondition[];
}

interface PolicyCondition {
  readonly quantifier: 'any' | 'all' | null;
  readonly operator: ConditionOperator;
  readonly ifExists: boolean;
  readonly key: string;
  readonly values: readonly string[];
}

type Comparison = (pattern: string, value: string) => boolean;

const OPERATORS = {
  StringEquals: (pattern, value) => pattern === value,
  StringEqualsIgnoreCase: (pattern, value) => pattern.toLowerCase() === value.toLowerCase(),
  StringLike: matchesGlob,
  ArnEquals: matchesGlob,
  ArnLike: matchesGlob,
  Bool: (pattern, value) => pattern.toLowerCase() === value.toLowerCase(),
  NumericEquals: (pattern, value) => Number(value) === Number(pattern),
  NumericLessThanEquals: (pattern, value) => Number(value) <= Number(pattern),
  NumericGreaterThanEquals: (pattern, value) => Number(value) >= Number(pattern),
} as const satisfies Record<string, Comparison>;

const NEGATED = { StringNotEquals: 'StringEquals', StringNotLike: 'StringLike', ArnNotEquals: 'ArnEquals' } as const;

type ConditionOperator = keyof typeof OPERATORS | keyof typeof NEGATED | 'Null';

/** Parses a policy document. Throws on anything it would not enforce, such as an unknown operator or `NotAction`. */
export function parseIamPolicy(text: string): PolicyStatement[] {
  const document = JSON.parse(text) as { Version?: unknown; Statement?: unknown };
  if (document.Version !== '2012-10-17') throw new Error('IAM policy: Version must be 2012-10-17');
  return asArray(document.Statement).map((statement, index) => parseStatement(statement, index));
}

function parseStatement(raw: unknown, index: number): PolicyStatement {
  if (typeof raw !== 'object' || raw === null) throw new Error(`IAM policy: statement ${index} is not an object`);
  const {
    Sid: sid,
    Effect: effect,
    Action: action,
    Resource: resource,
    Condition: condition,
    ...rest
  } = raw as Record<string, unknown>;
  const unknown = Object.keys(rest);
  if (unknown.length > 0)
    throw new Error(`IAM policy: statement ${index} uses ${unknown.join(', ')}, which is not enforced here`);
  if (effect !== 'Allow' && effect !== 'Deny') throw new Error(`IAM policy: statement ${index} has no Effect`);
  return {
    sid: typeof sid === 'string' ? sid : `statement ${index}`,
    effect,
    actions: asStrings(action),
    resources: asStrings(resource),
    conditions: Object.entries((condition ?? {}) as Record<string, Record<string, unknown>>).flatMap(
      ([operator, keys]) => Object.entries(keys).map(([key, values]) => parseCondition(operator, key, values)),
    ),
  };
}

function parseCondition(text: string, key: string, values: unknown): PolicyCondition {
  const match = /^(?:(ForAnyValue|ForAllValues):)?([A-Za-z]+?)(IfExists)?$/.exec(text);
  const operator = match?.[2] ?? '';
  if (!isOperator(operator)) throw new Error(`IAM policy: condition operator ${text} is not enforced here`);
  const quantifier = match?.[1] === undefined ? null : match[1] === 'ForAllValues' ? 'all' : 'any';
  return {
    quantifier,
    operator,
    ifExists: match?.[3] !== undefined,
    key: key.toLowerCase(),
    values: asStrings(values),
  };
}

function isOperator(text: string): text is ConditionOperator {
  return text === 'Null' || Object.hasOwn(OPERATORS, text) || Object.hasOwn(NEGATED, text);
}

function asArray(value: unknown): unknown[] {
  return Array.isArray(value) ? value : [value];
}

function asStrings(value: unknown): string[] {
  return asArray(value).map((item) => {
    if (typeof item === 'string') return item;
    if (typeof item === 'boolean' || typeof item === 'number') return String(item);
    throw new Error(`IAM policy: ${JSON.stringify(item)} is not a string`);
  });
}

/** True when a statement allows the request and none denies it. */
export function isAllowed(policy: readonly PolicyStatement[], request: AuthorizationRequest): boolean {
  const applying = policy.filter((statement) => applies(statement, request));
  return applying.some(({ effect }) => effect === 'Allow') && !applying.some(({ effect }) => effect === 'Deny');
}

function applies(statement: PolicyStatement, request: AuthorizationRequest): boolean {
  const action = request.action.toLowerCase();
  return (
    statement.actions.some((pattern) => matchesGlob(pattern.toLowerCase(), action)) &&
    statement.resources.some((pattern) => matchesGlob(pattern, request.resource)) &&
    statement.conditions.every((condition) => holds(condition, request.context.get(condition.key)))
  );
}

function holds(condition: PolicyCondition, actual: readonly string[] | undefined): boolean {
  const { operator, quantifier, values } = condition;
  if (operator === 'Null') return values.includes(String(actual === undefined));
  if (actual === undefined && condition.ifExists) return true;
  const negated = operator in NEGATED;
  const compare: Comparison =
    OPERATORS[negated ? NEGATED[operator as keyof typeof NEGATED] : (operator as keyof typeof OPERATORS)];
  const isHit = (value: string) => values.some((pattern) => compare(pattern, value)) !== negated;
  const set = actual ?? [];
  // IAM: ForAllValues holds for an absent key; a plain negated operator too; everything else does not.
  if (quantifier === 'all') return set.every(isHit);
  if (set.length === 0) return negated && quantifier === null;
  return set.some(isHit);
}

export interface IamPolicyPlace {
  readonly region: string;
  readonly accountId: string;
  /** Value of the tag `spillway:owner` that marks what the deployment may touch. */
  readonly owner: string;
}

/** Fills the placeholders `${Region}`, `${AccountId}` and `${Owner}` of `infra/iam-policy.json`. Throws when another is left. */
export function renderIamPolicy(text: string, place: IamPolicyPlace): string {
  const values: Readonly<Record<string, string>> = {
    Region: place.region,
    AccountId: place.accountId,
    Owner: place.owner,
  };
  return text.replaceAll(/\$\{([A-Za-z]+)\}/g, (whole, name: string) => {
    const value = values[name];
    if (value === undefined) throw new Error(`IAM policy: unknown placeholder ${whole}`);
    return JSON.stringify(value).slice(1, -1);
  });
}
