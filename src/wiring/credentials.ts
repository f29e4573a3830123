import { createHash } from 'node:crypto';

import { deriveHostKey } from '../cloud/host-key.ts';
import { makeLaunchToken, verifyLaunchToken } from '../cloud/launch-token.ts';
import { renderUserData } from '../cloud/user-data.ts';
import type { LaunchCredentials } from '../ports/credentials.ts';
import { readPublicKey } from '../ssh/public-key.ts';

/** Everything that the deployment key makes. */
export function createCredentials(deploymentKey: Buffer): LaunchCredentials {
  return {
    makeToken: (nonce, attempt) => makeLaunchToken(deploymentKey, nonce, attempt),
    verifyToken: (token) => verifyLaunchToken(deploymentKey, token),
    hostPublicKey: (nonce) => deriveHostKey(deploymentKey, nonce).publicOpenSsh,
    renderUserData(nonce, body) {
      const hostKey = deriveHostKey(deploymentKey, nonce);
      return renderUserData({
        hostKeyPrivatePem: hostKey.privateOpenSsh,
        hostKeyPublic: hostKey.publicOpenSsh,
        authorizedKey: body.authorizedKey,
        sshUser: body.sshUser,
      });
    },
    sha256: (text) => createHash('sha256').update(text).digest('hex'),
    loginPublicKey: async (identityFile) => await readPublicKey(identityFile),
  };
}
