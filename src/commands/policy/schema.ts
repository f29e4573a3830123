import type { CommandSpec } from '../types.ts';

export const policySchema: CommandSpec = {
  path: 'policy schema',
  summary: 'Print the JSON Schema of policies, for editors',
  examples: [
    {
      command: 'spillway policy schema > policy.schema.json',
      summary: 'then begin a policy with: # yaml-language-server: $schema=policy.schema.json',
    },
  ],
  output: 'none',
  seeAlso: ['policy validate'],
  async run({ output }) {
    const { policySchema: schema } = await import('../../policy/json-schema.ts');
    output.line(JSON.stringify(schema(), null, 2));
    return 0;
  },
};
