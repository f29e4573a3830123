/**
 * The agent for Windows cannot be run here. What is shown: it is PowerShell, by its grammar, and its words are those of the protocol. That it
 * works on a real Windows nobody has seen.
 */
import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { waitMs } from '../../src/model/waits.ts';
import { literalsOf, mistakesOf, textsOf } from '../support/powershell.ts';

const read = (path: string): string => readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8');
const AGENT = read('src/agent/spillway-agent.ps1');
const PROTOCOL = read('src/agent/PROTOCOL.md');
const literals = literalsOf(AGENT);

/** One function of the script. */
function functionOf(name: string): string {
  const found = textsOf(AGENT, 'function_statement').filter((text) => text.startsWith(`function ${name}`));
  expect(found).toHaveLength(1);
  return found[0] ?? '';
}

describe('the agent for Windows', () => {
  test('is PowerShell of ASCII alone, which no code page changes', () => {
    expect(mistakesOf(AGENT)).toEqual([]);
    expect(AGENT).toMatch(/^[\n\x20-\x7e]*$/);
  });

  test('says nothing that the protocol does not have', () => {
    // What is put into a list of lines begins with a bracket or goes on one; log lines are of another form.
    const reports = `${functionOf('Register-Agent')}${functionOf('Send-Report')}`;
    const said = [...reports.matchAll(/(?:@\(|, |\(|= )\(?'(\w+) /g)]
      .map(([, word]) => word)
      .filter((word) => word !== 'registration');
    expect(new Set(said)).toEqual(
      new Set(['protocol', 'name', 'boot', 'arch', 'label', 'seq', 'wait', 'others', 'task']),
    );
    for (const word of [...said, 'capacity', 'used', 'leaving', 'uncordon'])
      expect(PROTOCOL).toMatch(new RegExp(`\`${word}\\b`));
    expect(literals).toContain('capacity {0} {1}');
    expect(literals.filter((text) => text.startsWith('/agent/v1/'))).toEqual([
      '/agent/v1/register',
      '/agent/v1/heartbeat',
    ]);
  });

  test('knows every order of the protocol, and answers that to run something with 126', () => {
    const orders = [...functionOf('Invoke-Orders').matchAll(/^ {6}'(\w+)' \{/gm)].map(([, word]) => word);
    expect(orders).toEqual(['interval', 'lease', 'cordon', 'uncordon', 'run', 'ack', 'stop', 'leave']);
    expect(functionOf('Send-Report')).toContain("' exited 126'");
  });

  test('knows every setting that a join writes', () => {
    const known = [...AGENT.matchAll(/(SPILLWAY_[A-Z_]+) = '/g)].map(([, name]) => name);
    const join = read('src/jobs/join.ts').matchAll(/[`']?(SPILLWAY_[A-Z_]+)=/g);
    const written = [...new Set([...join].map(([, name]) => name))].filter((name) => name !== 'SPILLWAY_IMDS');
    expect(written.length).toBeGreaterThan(5);
    expect(known).toEqual(expect.arrayContaining(written));
    // A notice comes to spot machines, and of those none runs Windows.
    expect(known).not.toContain('SPILLWAY_IMDS');
  });

  test('waits as long as the agent for Linux does', () => {
    expect(functionOf('Register-Agent')).toContain(`$lines ${waitMs('agent.register') / 1000}\n`);
    expect(functionOf('Send-Report')).toContain(`($holdS + ${waitMs('agent.report') / 1000})`);
    expect(functionOf('Read-Probe')).toContain(`WaitForExit(${waitMs('agent.probe')})`);
  });

  test('shuts down only after the time it was told, and not over work, unless it was told that, too', () => {
    const deadMan = functionOf('Test-DeadMan');
    expect(deadMan).toContain('-lt $limitS');
    expect(deadMan).toMatch(
      /SPILLWAY_DEADMAN_TASKS -eq '0' -and \(Read-Probe\) -ne '0'\) \{ return \}[^]*shutdown\.exe'\) \/s \/f \/t 0/,
    );
  });

  test('is built beside the other one', () => {
    expect(read('package.json')).toContain('cp src/agent/spillway-agent.sh src/agent/spillway-agent.ps1 dist/agent/');
  });
});
