import { chmod, mkdir, rm } from 'node:fs/promises';
import { connect } from 'node:net';
import { dirname } from 'node:path';

import type { FastifyInstance } from 'fastify';

import type { ListenAddress } from '../config/types.ts';
import { AppError } from '../model/errors.ts';
import { waitMs } from '../model/waits.ts';

/** Listens on a TCP address; returns the port, which the system chose when 0 was asked for. @throws AppError PORT_IN_USE */
export async function listenOnTcp(app: FastifyInstance, address: ListenAddress, variable: string): Promise<number> {
  try {
    await app.listen({ host: address.host, port: address.port });
  } catch (error) {
    throw portError(
      error,
      `${address.host}:${address.port}`,
      `stop what uses it, or set ${variable} to another address`,
    );
  }
  const bound = app.server.address();
  return typeof bound === 'object' && bound !== null ? bound.port : address.port;
}

/**
 * Listens on a Unix socket that owner and group may use. A socket file that nobody answers on is left over from a killed
 * process and is replaced; one that answers belongs to another service, which is not pushed aside.
 * @throws AppError PORT_IN_USE
 */
export async function listenOnSocket(
  app: FastifyInstance,
  path: string,
  answerMs = waitMs('service.socket-answer'),
): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  if (await answers(path, answerMs)) {
    throw new AppError('PORT_IN_USE', `another service answers on ${path}`, {
      remedy: 'stop it, or set SPILLWAY_SOCKET (or SPILLWAY_DATA_DIR) to another place',
    });
  }
  await rm(path, { force: true });
  try {
    await app.listen({ path });
    await chmod(path, 0o660);
  } catch (error) {
    throw portError(error, path, 'set SPILLWAY_SOCKET to a shorter path (at most 107 bytes) that can be written to');
  }
}

/** One that is alive answers at once. */
async function answers(path: string, answerMs: number): Promise<boolean> {
  return await new Promise((resolve) => {
    const socket = connect(path);
    const finish = (alive: boolean): void => {
      socket.destroy();
      resolve(alive);
    };
    socket.setTimeout(answerMs, () => finish(false));
    socket.once('connect', () => finish(true));
    socket.once('error', () => finish(false));
  });
}

function portError(error: unknown, where: string, remedy: string): AppError {
  return new AppError('PORT_IN_USE', `cannot listen on ${where}`, { remedy, cause: error });
}
