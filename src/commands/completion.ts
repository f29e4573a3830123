import type { CommandSpec } from './types.ts';

const SHELLS = ['bash', 'zsh', 'fish'];

export const completion: CommandSpec = {
  path: 'completion',
  summary: 'Print the completion script of a shell',
  arguments: [{ name: 'SHELL', summary: SHELLS.join(', ') }],
  description:
    'They complete commands and flags, and names of agents, machines and workloads that the running service knows.',
  examples: [
    { command: 'source <(spillway completion bash)', summary: 'bash, for this session' },
    { command: 'spillway completion zsh > "${fpath[1]}/_spillway"', summary: 'zsh, for good' },
    { command: 'spillway completion fish > ~/.config/fish/completions/spillway.fish', summary: 'fish, for good' },
  ],
  output: 'none',
  seeAlso: ['completion names'],
  async run({ args, output }) {
    // Loaded here: the scripts are made from the catalogue, which this command is itself a part of.
    const { completionScript } = await import('./completion-scripts.ts');
    output.raw(completionScript(args[0] ?? ''));
    return 0;
  },
};
