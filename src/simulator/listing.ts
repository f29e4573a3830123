/** What every describe call shares: filters and pages. */
import { createHash } from 'node:crypto';
import type { Filter } from '@aws-sdk/client-ec2';
import { Ec2Error } from './ec2-error.ts';
import { matchesGlob } from './glob.ts';

/** What a filter's name means for one item; several values when the item has several (tags, groups). */
export type FilterTable<T> = Readonly<Record<string, (item: T) => readonly string[]>>;

const FILTER_VALUES_MAX = 200;

export interface FilterOptions<T> {
  readonly table: FilterTable<T>;
  /** Reads tags, for `tag:*` and `tag-key`; leave out for things without tags. */
  readonly tagsOf?: (item: T) => ReadonlyMap<string, string>;
}

/** All filters must hold; of a filter's values one. Values may hold `*` and `?`. Unknown names are refused, as EC2 does. */
export function applyFilters<T>(
  items: readonly T[],
  filters: readonly Filter[] | undefined,
  options: FilterOptions<T>,
): T[] {
  const tests = (filters ?? []).map((filter) => filterTest(filter, options));
  return items.filter((item) => tests.every((test) => test(item)));
}

function filterTest<T>(
  { Name: name = '', Values: values = [] }: Filter,
  { table, tagsOf }: FilterOptions<T>,
): (item: T) => boolean {
  if (values.length > FILTER_VALUES_MAX) {
    throw new Ec2Error('InvalidParameterValue', `The filter '${name}' has more than ${FILTER_VALUES_MAX} values`);
  }
  const read = filterReader(name, table, tagsOf);
  if (read === null) throw new Ec2Error('InvalidParameterValue', `The filter '${name}' is invalid`);
  return (item) => read(item).some((actual) => values.some((pattern) => matchesGlob(pattern, actual)));
}

function filterReader<T>(
  name: string,
  table: FilterTable<T>,
  tagsOf: FilterOptions<T>['tagsOf'],
): ((item: T) => readonly string[]) | null {
  if (tagsOf !== undefined && name === 'tag-key') return (item) => [...tagsOf(item).keys()];
  if (tagsOf !== undefined && name.startsWith('tag:')) {
    const key = name.slice('tag:'.length);
    return (item) => {
      const value = tagsOf(item).get(key);
      return value === undefined ? [] : [value];
    };
  }
  return Object.hasOwn(table, name) ? (table[name] ?? null) : null;
}

export interface PageRequest<T> {
  readonly items: readonly T[];
  /** Grows along the items and stays with an item, so that a page goes on where the last one ended. */
  readonly positionOf: (item: T) => number;
  readonly maxResults: number | undefined;
  readonly nextToken: string | undefined;
  readonly range: readonly [least: number, most: number];
  /** What the request asked for apart from the page; a token is only good for the same question. */
  readonly question: unknown;
}

export interface Page<T> {
  readonly items: readonly T[];
  readonly nextToken: string | undefined;
}

/** Cuts one page. Without MaxResults everything comes at once, unless a token asks for the rest. */
export function takePage<T>(request: PageRequest<T>): Page<T> {
  const { items, positionOf, maxResults, nextToken, range } = request;
  const [least, most] = range;
  if (maxResults !== undefined && (maxResults < least || maxResults > most)) {
    throw new Ec2Error(
      'InvalidParameterValue',
      `Value ( ${maxResults} ) for parameter maxResults is invalid. Expecting a value between ${least} and ${most}.`,
    );
  }
  const mark = fingerprint(request.question).slice(0, 16);
  const after = nextToken === undefined ? -Infinity : readToken(nextToken, mark);
  const rest = items.filter((item) => positionOf(item) > after);
  const page = rest.slice(0, maxResults ?? most);
  const last = page.at(-1);
  const isWhole = page.length === rest.length || (maxResults === undefined && nextToken === undefined);
  if (isWhole || last === undefined) return { items: isWhole ? rest : page, nextToken: undefined };
  return { items: page, nextToken: Buffer.from(`${mark}.${positionOf(last)}`).toString('base64url') };
}

function readToken(token: string, mark: string): number {
  const [tokenMark, position = ''] = Buffer.from(token, 'base64url').toString('latin1').split('.');
  if (tokenMark !== mark || !/^\d+$/.test(position)) {
    throw new Ec2Error('InvalidNextToken', 'The token in the request is invalid or belongs to another request');
  }
  return Number(position);
}

/** A digest of a request that does not depend on the order of its members; undefined members do not count. */
export function fingerprint(value: unknown): string {
  return createHash('sha256').update(canonical(value)).digest('hex');
}

function canonical(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonical).join()}]`;
  if (value instanceof Date) return JSON.stringify(value);
  if (typeof value !== 'object' || value === null) return JSON.stringify(value) ?? 'null';
  const members = Object.entries(value).filter(([, member]) => member !== undefined);
  members.sort(([a], [b]) => (a < b ? -1 : 1));
  return `{${members.map(([key, member]) => `${JSON.stringify(key)}:${canonical(member)}`).join()}}`;
}
