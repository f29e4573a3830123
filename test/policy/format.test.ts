import { describe, expect, test } from 'vitest';
import { formatIssues, policyInvalidError } from '../../src/policy/format.ts';
import { edited } from './documents.ts';
import { DURATION_FIX, issuesOf } from './mistakes.ts';

describe('formatIssues', () => {
  test('shows place, sentence, line, caret and what to write', () => {
    expect(formatIssues(issuesOf(edited('60s', '60').replace('max: 4', 'max: 4, vcpu: 1')))).toBe(
      [
        'p.yaml:7:55: error: spec.demand.queue.maxWait: 60 has no unit (POLICY_VALUE)',
        '    7 |     queue: { task: { cpu: 2, memory: 4GiB }, maxWait: 60 }',
        '      |                                                       ^^',
        `  fix: ${DURATION_FIX}`,
        '',
        'p.yaml:12:31: error: spec.burst.limits.vcpu: "vcpu" is not a key of spec.burst.limits (POLICY_UNKNOWN_KEY)',
        '   12 |     limits: { min: 1, max: 4, vcpu: 1 }',
        '      |                               ^^^^',
        '  fix: did you mean vcpus?',
      ].join('\n'),
    );
  });

  test('cuts a long line around the caret', () => {
    const [, line = '', caret = ''] = formatIssues(
      issuesOf(`{ ${'a: 1, '.repeat(1)}"${'x'.repeat(300)}": 1 }`).slice(-1),
    ).split('\n');
    expect(line.length).toBeLessThan(120);
    expect(caret).toContain('^');
    const deep = formatIssues(issuesOf(`${' '.repeat(400)}zzz: 1${' '.repeat(400)}`).slice(-1)).split('\n');
    expect(deep[1]?.slice(deep[2]?.indexOf('^'))).toMatch(/^zzz/);
    expect(deep[1]?.length).toBeLessThan(120);
  });

  test('lets no control or direction character reach the terminal', () => {
    const hostile = `"\\u001b[31m": 1 # \u009b31m \u202e\u2066\n`;
    // oxlint-disable-next-line no-control-regex -- control characters are exactly what is looked for
    expect(formatIssues(issuesOf(hostile))).not.toMatch(/[\0-\x09\x0B-\x1F\x7F-\x9F\u202E\u2066]/);
  });

  test('policyInvalidError carries all issues, exit code 2 and the first place', () => {
    const issues = issuesOf(edited('60s', '60').replace('max: 4', 'max: 4, vcpu: 1'));
    const error = policyInvalidError(issues);
    expect(error).toMatchObject({ code: 'POLICY_INVALID', exitCode: 2, details: { issues } });
    expect(error.message).toBe('2 problems in a policy, first at p.yaml:7:55: 60 has no unit');
  });
});
