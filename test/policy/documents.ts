/** The smallest policy that uses every section, one key or section a line, so that tests can name lines. */
export const POLICY_TEXT = `apiVersion: spillway.dev/v1
kind: WorkloadPolicy
metadata: { name: transcode }
spec:
  agents: { selector: { pool: media } }
  demand:
    queue: { task: { cpu: 2, memory: 4GiB }, maxWait: 60s }
  burst:
    region: eu-central-1
    subnets: [subnet-0a1b]
    image: { x86_64: ami-0123 }
    limits: { min: 1, max: 4 }
    budget: { hourly: 40 }
  join:
    ssh: { user: admin, identity: { file: /etc/spillway/id } }
  drain: { deadline: 20m }
`;

/** `POLICY_TEXT` with one passage replaced; a passage that is not there is a mistake of the test. */
export function edited(passage: string, replacement: string): string {
  if (!POLICY_TEXT.includes(passage)) throw new Error(`the policy of the tests has no ${JSON.stringify(passage)}`);
  return POLICY_TEXT.replace(passage, () => replacement);
}
