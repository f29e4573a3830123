import type { z } from 'zod';
import { AppError } from '../../model/errors.ts';
import type { Page } from '../../ports/reports.ts';

/** Version of every document; additions keep it, removals change it. */
export const API_VERSION = 'spillway/v1';

export function document(kind: string, value: object): object {
  return { apiVersion: API_VERSION, kind, ...value };
}

export function listDocument<T>(kind: string, page: Page<T>): object {
  return document(kind, { items: page.items, nextCursor: page.nextCursor });
}

/** Input checked against its schema. @throws AppError USAGE that names every field that is wrong. */
export function parseInput<S extends z.ZodType>(schema: S, input: unknown): z.output<S> {
  const result = schema.safeParse(input);
  if (result.success) return result.data;
  const problems = result.error.issues
    .slice(0, 10)
    .map((issue) => `${issue.path.join('.') || 'input'}: ${issue.message}`);
  throw new AppError('USAGE', `the request is not valid: ${problems.join('; ')}`, {
    remedy: 'correct the named fields',
  });
}

/** What was asked for by id. @throws AppError NOT_FOUND */
export function required<T>(value: T | null, what: string, remedy: string): T {
  if (value === null) throw new AppError('NOT_FOUND', `there is no ${what}`, { remedy });
  return value;
}
