import { createHash } from 'node:crypto';

import { deriveHostKey, hostKeyProof } from '../cloud/host-key.ts';
import { makeLaunchToken, verifyLaunchToken } from '../cloud/launch-token.ts';
import { renderUserData } from '../cloud/user-data.ts';
import type { LaunchCredentials } from '../ports/credentials.ts';
import { loginPublicKey } from '../ssh/login.ts';

/** Everything that the deployment key makes. */
export function createCredentials(deploymentKey: Buffer, agentSocket: string | null = null): LaunchCredentials {
  return {
    makeToken: (nonce, attempt) => makeLaunchToken(deploymentKey, nonce, attempt),
    verifyToken: (token) => verifyLaunchToken(deploymentKey, token),
    hostPublicKey: (nonce) => deriveHostKey(deploymentKey, nonce).publicOpenSsh,
    hostKeyProof: (made) => hostKeyProof(deploymentKey, made),
    renderUserData(nonce, body) {
      return renderUserData({
        hostKey: body.hostKey ?? deriveHostKey(deploymentKey, nonce),
        authorizedKey: body.authorizedKey,
        sshUser: body.sshUser,
        ...(body.platform === undefined ? {} : { platform: body.platform }),
      });
    },
    sha256: (text) => createHash('sha256').update(text).digest('hex'),
    loginPublicKey: async (login) => await loginPublicKey(login, agentSocket),
  };
}
