import type { PolicyIssue } from '../../policy/types.ts';
import { usage } from '../options.ts';
import type { CommandSpec } from '../types.ts';

export const policyValidate: CommandSpec = {
  path: 'policy validate',
  summary: 'Check policy files and say what is wrong, with line and column',
  description: 'Reads files only; no service is asked. A folder stands for its *.yaml and *.yml files.',
  arguments: [{ name: 'FILE', summary: 'policy file or folder', variadic: true }],
  options: [
    {
      name: 'format',
      value: 'FORM',
      summary: 'text, or github for annotations in a workflow',
      default: 'text',
      choices: ['text', 'github'],
    },
    {
      name: 'offline',
      summary: 'do not look for the files a policy names (private key, recipe): they may be on another machine',
    },
  ],
  examples: [
    { command: 'spillway policy validate policies/transcode.yaml', summary: 'one file' },
    { command: 'spillway policy validate policies --format github', summary: 'a folder, in a GitHub workflow' },
  ],
  output: 'object',
  seeAlso: ['policy schema', 'policy list'],
  async run({ args, options, output }) {
    const { loadPolicies } = await import('../../policy/load.ts');
    const { formatIssues, policyInvalidError } = await import('../../policy/format.ts');
    const result = await loadPolicies(args, { checkFiles: !options.isSet('offline') });
    if (!result.ok) {
      const github = options.text('format') === 'github';
      await output.object('PolicyIssueList', { items: result.issues }, () => {
        if (github) result.issues.forEach((issue) => output.line(githubAnnotation(issue)));
        else output.warn(formatIssues(result.issues));
      });
      return policyInvalidError(result.issues).exitCode;
    }
    if (result.policies.length === 0)
      throw usage('there is no policy to check', 'name a *.yaml file, or a folder that holds some');
    const names = result.policies.map(({ policy }) => policy.name);
    await output.object('PolicyIssueList', { items: [], workloads: names }, () => {
      output.line(`${names.length} ${names.length === 1 ? 'policy is' : 'policies are'} valid: ${names.join(', ')}`);
    });
    return 0;
  },
};

/** A workflow command: its own escapes, so that a message cannot begin another command. */
function githubAnnotation(issue: PolicyIssue): string {
  const data = (text: string): string => text.replaceAll('%', '%25').replaceAll('\r', '%0D').replaceAll('\n', '%0A');
  const property = (text: string): string => data(text).replaceAll(':', '%3A').replaceAll(',', '%2C');
  const place = `file=${property(issue.file)},line=${issue.line},col=${issue.column},endColumn=${issue.column + issue.length}`;
  return `::error ${place},title=${property(issue.code)}::${data(`${issue.message}; ${issue.fix}`)}`;
}
