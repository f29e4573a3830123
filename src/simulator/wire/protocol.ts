import type { IncomingMessage } from 'node:http';
import type { Ec2Error } from '../ec2-error.ts';
import type { Region } from '../region.ts';

/** How a service of AWS is spoken to. */
export interface AwsProtocol {
  /** As it is called in signatures. */
  readonly service: string;
  readonly contentType: string;
  actionOf(request: IncomingMessage, body: string): string;
  /** Throws {@link Ec2Error}. */
  perform(
    region: Region,
    asked: { readonly action: string; readonly body: string; readonly requestId: string },
  ): string;
  writeError(error: Ec2Error, requestId: string): string;
}
