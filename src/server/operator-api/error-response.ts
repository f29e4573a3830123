import type { FastifyReply, FastifyRequest } from 'fastify';
import type { Logger } from '../../observability/log.ts';
import { AppError, describeError } from '../../model/errors.ts';
import { API_VERSION } from './document.ts';

interface ErrorContext {
  readonly request: FastifyRequest;
  readonly reply: FastifyReply;
  readonly log: Logger;
}

/** HTTP status by the exit code that the CLI will end with. */
const STATUS_BY_EXIT_CODE: Readonly<Record<number, number>> = {
  1: 500,
  2: 400,
  3: 404,
  4: 403,
  5: 409,
  6: 503,
  7: 504,
};

/** Answers with an error document. What is no AppError is a bug: it is logged whole and told as INTERNAL without details. */
export function sendError(error: unknown, { request, reply, log }: ErrorContext): FastifyReply {
  const known = error === null ? notFound(request) : toAppError(error);
  if (known === null)
    log.error({ error, method: request.method, route: request.routeOptions.url }, 'a request failed unexpectedly');
  const told = known ?? internalError();
  const cause = told.cause === undefined ? null : describeError(told.cause);
  const status = known?.details['httpStatus'];
  return reply.code(typeof status === 'number' ? status : (STATUS_BY_EXIT_CODE[told.exitCode] ?? 500)).send({
    apiVersion: API_VERSION,
    kind: 'Error',
    error: { code: told.code, message: told.message, cause, remedy: told.remedy },
  });
}

function notFound(request: FastifyRequest): AppError {
  return new AppError('NOT_FOUND', `there is nothing at ${request.method} ${request.url.split('?')[0] ?? ''}`, {
    remedy: 'check the address, and that service and command line are of the same version',
  });
}

function internalError(): AppError {
  return new AppError('INTERNAL', 'the service failed unexpectedly', {
    remedy: 'look at the log of the service; this is a bug of Spillway',
  });
}

/** Fastify's own refusals (body too large, bad JSON, time-out) by their code and status; null = unknown. */
function toAppError(error: unknown): AppError | null {
  if (error instanceof AppError) return error;
  if (!(error instanceof Error)) return null;
  const code = 'code' in error ? error.code : undefined;
  const status = 'statusCode' in error && typeof error.statusCode === 'number' ? error.statusCode : 500;
  if (code === 'FST_ERR_HANDLER_TIMEOUT') {
    return new AppError('TIMEOUT', 'the service could not answer in time', {
      remedy: 'look at /readyz for what is slow, then try again',
      details: { httpStatus: 504 },
    });
  }
  if (status < 400 || status >= 500) return null;
  return new AppError('USAGE', 'the request could not be read', {
    remedy: 'send a JSON object that the documentation describes',
    cause: error,
    details: { httpStatus: status },
  });
}
