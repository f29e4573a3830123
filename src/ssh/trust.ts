import { AppError } from '../model/errors.ts';
import type { ShellHop } from '../ports/shell.ts';
import { parseHostKeyPin } from './host-key-pin.ts';
import type { HostKeyPin } from './host-key-pin.ts';
import { readKnownKeys } from './known-hosts.ts';

/** The keys of which the host must prove one. @throws AppError SSH_HOST_KEY, CONFIG_KEY_FILE: then there is no connection */
export async function readPins(hop: ShellHop): Promise<readonly HostKeyPin[]> {
  switch (hop.trust.kind) {
    case 'keys':
      if (hop.trust.keys.length === 0) throw new Error('bug: a host that has nothing to prove');
      return hop.trust.keys.map(parseHostKeyPin);
    case 'known':
      return (await readKnownKeys(hop.trust.file, hop)).map(parseHostKeyPin);
    case 'ca':
      throw new AppError('SSH_HOST_KEY', 'Host certificates cannot be checked by this transport.', {
        remedy: 'Write `transport: openssh` beside `hostKey: ca` in join.ssh.',
      });
  }
}
