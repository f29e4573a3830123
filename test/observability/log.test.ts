import { describe, expect, test } from 'vitest';
import { AppError } from '../../src/model/errors.ts';
import { createLogger } from '../../src/observability/log.ts';
import { SECRET_FIELDS } from '../../src/observability/redaction.ts';

const CANARY = 'canary-7f3ak2p9qx0z';

function recorded(
  level: 'info' | 'debug',
  write: (log: ReturnType<typeof createLogger>) => void,
): { text: string; lines: Record<string, unknown>[] } {
  const written: string[] = [];
  write(createLogger({ level, destination: { write: (line) => void written.push(line) } }));
  return { text: written.join(''), lines: written.map((line) => JSON.parse(line) as Record<string, unknown>) };
}

describe('a secret does not reach the log', () => {
  test.each(SECRET_FIELDS)('in the field %s, at any of three depths', (field) => {
    const { text } = recorded('info', (log) => {
      log.info({ [field]: CANARY }, 'flat');
      log.info({ a: { [field]: CANARY } }, 'nested');
      log.info({ a: { b: { [field]: CANARY } } }, 'deep');
    });
    expect(text).not.toContain(CANARY);
  });

  test.each([
    ['a connection URL', `connect to postgres://spillway:${CANARY}@db/spillway failed`],
    ['a bearer header', `Authorization: Bearer ${CANARY}`],
    ['a signed URL', `https://ec2/?X-Amz-Signature=${CANARY}`],
    ['a private key', `-----BEGIN OPENSSH PRIVATE KEY-----\n${CANARY}\n-----END OPENSSH PRIVATE KEY-----`],
  ])('inside %s, in the message, in a field and in an error', (_what, text) => {
    const { text: log, lines } = recorded('debug', (logger) => {
      logger.info(text);
      logger.info({ detail: text }, 'field');
      logger.error({ error: new Error('outer', { cause: new Error(text) }) }, 'error');
    });
    expect(log).not.toContain(CANARY);
    expect(lines).toHaveLength(3);
  });
});

test('an error is logged with code, sentence, causes and remedy, its stack only when debugging', () => {
  const error = new AppError('DATABASE_UNREACHABLE', 'Postgres does not answer', {
    remedy: 'Start it.',
    cause: new Error('ECONNREFUSED'),
  });
  const [line] = recorded('info', (log) => log.error({ error }, 'no plan')).lines;
  expect(line).toMatchObject({
    level: 'error',
    msg: 'no plan',
    error: { code: 'DATABASE_UNREACHABLE', message: 'Postgres does not answer: ECONNREFUSED', remedy: 'Start it.' },
  });
  expect(line?.['time']).toMatch(/^\d{4}-\d\d-\d\dT/);
  expect(line?.['error']).not.toHaveProperty('stack');
  const [debug] = recorded('debug', (log) => log.error({ error }, 'no plan')).lines;
  expect(debug?.['error']).toHaveProperty('stack');
});
