import { createHmac } from 'node:crypto';

/**
 * The token of an agent: 64 hex digits that follow from the deployment key, the SHA-256 of its enrolment token and its boot. An
 * agent that heard no answer asks again, and whichever of its calls is carried out last, the answers and the row agree.
 */
export function makeAgentToken(deploymentKey: Buffer, enrolmentTokenHash: string, bootId: string): string {
  // The label keeps this hash apart from the others made with the deployment key (launch tokens, host keys).
  return createHmac('sha256', deploymentKey)
    .update(`spillway agent token v1|${enrolmentTokenHash}|${bootId}`)
    .digest('hex');
}
