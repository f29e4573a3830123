/**
 * Every way to get a policy wrong that has a sentence of its own: the exact place, the code, what is said and what to
 * write instead. Columns count from 1.
 */
import { describe, expect, test } from 'vitest';
import { edited } from './documents.ts';
import { DURATION_FIX, SIZE_FIX, issueLines } from './mistakes.ts';

describe('one mistake gives one issue, at its place', () => {
  test.each<[string, string, string]>([
    // a dead man
    [
      '  drain: {',
      '    deadMan: { after: 1m }\n  drain: {',
      '16:23 POLICY_VALUE spec.join.deadMan.after | 1m is less than 5m | write 5m to 7d',
    ],
    [
      '  drain: {',
      '    deadMan: { whileTasksRun: yes }\n  drain: {',
      '16:31 POLICY_VALUE spec.join.deadMan.whileTasksRun | "yes" is neither true nor false | write true or false',
    ],
    // keys
    [
      'max: 4',
      'max: 4, maxscale_up: 3',
      '12:31 POLICY_UNKNOWN_KEY spec.burst.limits.maxscale_up | "maxscale_up" is not a key of spec.burst.limits | did you mean maxScaleUp?',
    ],
    [
      '  drain:',
      '  drian: {}\n  drain:',
      '16:3 POLICY_UNKNOWN_KEY spec.drian | "drian" is not a key of spec | did you mean drain?',
    ],
    [
      '    region:',
      '    warmPool: { max: 5 }\n    region:',
      '9:22 POLICY_CONFLICT spec.burst.warmPool.max | 5 machines would wait stopped, and limits.max lets only 4 run | write at most 4 here, or raise limits.max',
    ],
    [
      '    region:',
      '    warmPool: { max: 1, maxAge: 5s }\n    region:',
      '9:33 POLICY_VALUE spec.burst.warmPool.maxAge | 5s is less than 1m | write 1m to 30d',
    ],
    [
      'kind:',
      'extra: 1\nkind:',
      '2:1 POLICY_UNKNOWN_KEY extra | "extra" is not a key of a policy | delete it, or write one of apiVersion, kind, metadata, spec',
    ],
    [
      '    region:',
      '    onDeadline: wait\n    region:',
      '9:5 POLICY_UNKNOWN_KEY spec.burst.onDeadline | "onDeadline" is not a key of spec.burst | write it as spec.drain.onDeadline',
    ],
    [
      'max: 4',
      'max: 4, max: 5',
      '12:31 POLICY_DUPLICATE_KEY spec.burst.limits.max | max is already written on line 12 | keep one of the two',
    ],
    [
      '    region: eu-central-1',
      '    region: eu-central-1\n    region: us-east-1',
      '10:5 POLICY_DUPLICATE_KEY spec.burst.region | region is already written on line 9 | keep one of the two',
    ],
    [
      'pool: media',
      '__proto__: {}, pool: media',
      '5:25 POLICY_YAML_FEATURE spec.agents.selector.__proto__ | __proto__ cannot be a key | delete it and write the keys that are meant',
    ],
    [
      'pool: media',
      'pool: media, odd key: x',
      '5:38 POLICY_VALUE spec.agents.selector["odd key"] | "odd key" is not a label name | write letters, digits and any of . _ / - between them',
    ],
    // missing and empty
    [
      '    region: eu-central-1\n',
      '',
      '8:3 POLICY_MISSING spec.burst.region | spec.burst.region is required | add `region: eu-central-1` (The AWS region)',
    ],
    [
      ' hourly: 40 ',
      '',
      '13:5 POLICY_MISSING spec.burst.budget.hourly | spec.burst.budget.hourly is required | add `hourly: 40` (Most that all live machines of this workload may cost per hour, by their prices at launch; null = no limit)',
    ],
    [
      ', identity: { file: /etc/spillway/id }',
      '',
      '15:5 POLICY_MISSING spec.join.ssh.identity.file | spec.join.ssh.identity.file is required | add `file: /etc/spillway/id_ed25519` (Private key; relative paths start at this file), or `agent: true`, or `instanceConnect: true`',
    ],
    // kinds of values
    [
      'name: transcode',
      'name: 123',
      '3:19 POLICY_VALUE metadata.name | 123 is read as a number, not as text | write it in quotes: "123"',
    ],
    [
      'pool: media',
      'pool: true',
      '5:31 POLICY_VALUE spec.agents.selector.pool | true is read as a yes/no value, not as text | write it in quotes: "true"',
    ],
    [
      'name: transcode',
      'name: Trans code',
      '3:19 POLICY_VALUE metadata.name | "Trans code" is not a name | write 1 to 63 lower-case letters, digits and hyphens, such as transcode, with a letter or digit at both ends',
    ],
    [
      'name: transcode',
      `name: ${'a'.repeat(64)}`,
      '3:19 POLICY_VALUE metadata.name | a name of 64 characters is too long | write at most 63 characters',
    ],
    [
      '[subnet-0a1b]',
      'subnet-0a1b',
      '10:14 POLICY_VALUE spec.burst.subnets | "subnet-0a1b" is not a list | write [subnet-0a1b]',
    ],
    [
      '[subnet-0a1b]',
      '[subnet-0a1b, vpc-1]',
      '10:28 POLICY_VALUE spec.burst.subnets[1] | "vpc-1" is not a subnet id | write the id of a subnet, such as subnet-0a1b2c3d4e5f60718',
    ],
    [
      '{ min: 1, max: 4 }',
      '[1, 4]',
      '12:13 POLICY_VALUE spec.burst.limits | a list is not a map | write its keys below it, indented (min, max, vcpus, launchesPerHour, maxScaleUp, maxScaleDown)',
    ],
    [
      'eu-central-1',
      'eu-central-1a',
      '9:13 POLICY_VALUE spec.burst.region | "eu-central-1a" is not an AWS region | write a region such as eu-central-1 (without the letter of a zone)',
    ],
    [
      'apiVersion: spillway.dev/v1',
      'apiVersion: v1',
      '1:13 POLICY_VALUE apiVersion | "v1" is not known here | write spillway.dev/v1',
    ],
    [
      '{ deadline: 20m }',
      '{ onDeadline: wiat }',
      '16:24 POLICY_VALUE spec.drain.onDeadline | "wiat" is not known here | write one of wait, extend, terminate; did you mean wait?',
    ],
    [
      'hourly: 40',
      'hourly: 40, currency: EUR',
      '13:37 POLICY_VALUE spec.burst.budget.currency | "EUR" is not known here | write USD',
    ],
    [
      'file: /etc/spillway/id',
      'file: ~/id',
      '15:43 POLICY_VALUE spec.join.ssh.identity.file | "~/id" is not a file path | write a path that starts at / or at the folder of this file (~ is not expanded)',
    ],
    // units
    [
      '{ deadline: 20m }',
      '{ scaleDownUnneededTime: automatic }',
      `16:35 POLICY_VALUE spec.drain.scaleDownUnneededTime | "automatic" is not a duration | ${DURATION_FIX}, or auto`,
    ],
    [
      '{ deadline: 20m }',
      '{ budgets: [{ machines: 10 %, reasons: [empty] }] }',
      '16:34 POLICY_VALUE spec.drain.budgets[0].machines | "10 %" is not a percentage | write a percentage from 0% to 100%, such as 75%',
    ],
    [
      '{ deadline: 20m }',
      '{ budgets: [{ machines: "3" }] }',
      '16:34 POLICY_VALUE spec.drain.budgets[0].machines | "3" is neither a number nor a percentage | write a whole number from 0 to 10000, or a percentage such as 10%',
    ],
    [
      '{ deadline: 20m }',
      '{ budgets: [{ reasons: [empty] }] }',
      '16:22 POLICY_MISSING spec.drain.budgets[0].machines | spec.drain.budgets[0].machines is required | add `machines: 10%` (Most machines that go at a time: a number, or a share of those that work or go, rounded up. 0 = none goes)',
    ],
    [
      '{ deadline: 20m }',
      '{ budgets: [{ machines: 1, reasons: [drifted] }] }',
      '16:47 POLICY_UNSUPPORTED spec.drain.budgets[0].reasons[0] | spec.drain.budgets[0].reasons[0]: "drifted" is not supported yet | write empty or underutilized',
    ],
    [
      '{ deadline: 20m }',
      '{ budgets: [{ machines: 1, schedule: "0 8 * * *" }] }',
      '16:47 POLICY_CONFLICT spec.drain.budgets[0].schedule | schedule says when the budget begins to count, and nothing for how long | add duration, such as `duration: 10h`',
    ],
    [
      '{ deadline: 20m }',
      '{ budgets: [{ machines: 1, duration: 8h }] }',
      '16:47 POLICY_CONFLICT spec.drain.budgets[0].duration | duration belongs to schedule, and there is none | add schedule, such as `schedule: "0 8 * * 1-5"`, or delete it',
    ],
    [
      '{ deadline: 20m }',
      '{ budgets: [{ machines: 1, timezone: UTC }] }',
      '16:47 POLICY_CONFLICT spec.drain.budgets[0].timezone | timezone belongs to schedule, and there is none | add schedule, such as `schedule: "0 8 * * 1-5"`, or delete it',
    ],
    [
      '{ deadline: 20m }',
      '{ extensions: 2 }',
      '16:24 POLICY_CONFLICT spec.drain.extensions | extensions belongs to onDeadline: extend, and onDeadline is wait | write onDeadline: extend, or delete it',
    ],
    [
      '{ deadline: 20m }',
      '{ onDeadline: terminate, hooks: { health: nodetool status } }',
      '16:52 POLICY_CONFLICT spec.drain.hooks.health | a machine waits for health for as long as it takes, and onDeadline: terminate would end it | write onDeadline: extend, or delete health',
    ],
    [
      '{ deadline: 20m }',
      '{ consolidation: whenUnderutilized }',
      '16:27 POLICY_VALUE spec.drain.consolidation | "whenUnderutilized" is not known here | write one of whenEmpty, whenEmptyOrUnderutilized; did you mean whenEmptyOrUnderutilized?',
    ],
    [
      '{ deadline: 20m }',
      '{ consolidation: whenEmptyOrUnderutilized, onDeadline: terminate }',
      '16:27 POLICY_CONFLICT spec.drain.consolidation | machines with work would be drained to save money, and onDeadline: terminate would end that work | write onDeadline: wait, or consolidation: whenEmpty',
    ],
    [
      '{ deadline: 20m }',
      '{ minimumLife: auto }',
      `16:25 POLICY_VALUE spec.drain.minimumLife | "auto" is not a duration | ${DURATION_FIX}`,
    ],
    ['60s', '60', '7:55 POLICY_VALUE spec.demand.queue.maxWait | 60 has no unit | ' + DURATION_FIX],
    ['60s', '"60"', '7:55 POLICY_VALUE spec.demand.queue.maxWait | "60" has no unit | ' + DURATION_FIX],
    ['60s', '60 s', '7:55 POLICY_VALUE spec.demand.queue.maxWait | "60 s" is not a duration | ' + DURATION_FIX],
    ['60s', '2d', '7:55 POLICY_VALUE spec.demand.queue.maxWait | 2d is more than 1d | write 0s to 1d'],
    ['4GiB', '4GB', '7:38 POLICY_VALUE spec.demand.queue.task.memory | "4GB" is not a size | write 4GiB'],
    ['4GiB', '4', '7:38 POLICY_VALUE spec.demand.queue.task.memory | 4 has no unit | ' + SIZE_FIX],
    [
      'cpu: 2',
      'cpu: 0',
      '7:27 POLICY_VALUE spec.demand.queue.task.cpu | an amount of cpu must be above 0 | write a number of cores such as 2 or 0.5, or milli-cores such as 500m',
    ],
    ['max: 4', 'max: "4"', '12:28 POLICY_VALUE spec.burst.limits.max | "4" is text | write 4 without quotes'],
    [
      'max: 4',
      'max: 4.5',
      '12:28 POLICY_VALUE spec.burst.limits.max | "4.5" is not a whole number | write a whole number from 0 to 10000',
    ],
    [
      'min: 1',
      'min: -1',
      '12:20 POLICY_VALUE spec.burst.limits.min | -1 is less than 0 | write a whole number from 0 to 10000',
    ],
    [
      'hourly: 40',
      'hourly: .inf',
      '13:23 POLICY_VALUE spec.burst.budget.hourly | "Infinity" is not an amount of dollars | write a number of US dollars above 0, such as 40 or 12.50',
    ],
    [
      'limits:',
      'market: { spot: 0.8 }\n    limits:',
      '12:21 POLICY_VALUE spec.burst.market.spot | 0.8 has no percent sign | write 80%',
    ],
    [
      'limits:',
      'instances: { cpu: 32..4 }\n    limits:',
      '12:23 POLICY_VALUE spec.burst.instances.cpu | "32..4" begins above its end | write 4..32',
    ],
    [
      'limits:',
      'instances: { memory: 4.. }\n    limits:',
      '12:26 POLICY_VALUE spec.burst.instances.memory | "4.." is not a range | write both ends with two dots between them, such as 4..32',
    ],
    [
      'limits:',
      'volumeSize: 4.5GiB\n    limits:',
      '12:17 POLICY_VALUE spec.burst.volumeSize | "4.5GiB" is not a whole number of GiB | write 5GiB',
    ],
    [
      '{ selector: { pool: media } }',
      '{ selector: { pool: media }, weight: 0 }',
      '5:48 POLICY_VALUE spec.agents.weight | 0 is less than 1 | write a whole number from 1 to 1000',
    ],
    [
      '{ selector: { pool: media } }',
      '{ selector: { pool: media }, priority: high }',
      '5:50 POLICY_VALUE spec.agents.priority | "high" is not a whole number | write a whole number from -1000 to 1000',
    ],
    [
      '  demand:',
      '  demand:\n    forecast: { mode: forecastOnly }',
      '7:23 POLICY_VALUE spec.demand.forecast.mode | "forecastOnly" is not known here | write one of ForecastOnly, ForecastAndScale; did you mean ForecastOnly?',
    ],
    [
      '  demand:',
      '  demand:\n    forecast: { leadTime: 10s }',
      '7:27 POLICY_VALUE spec.demand.forecast.leadTime | 10s is less than 1m | write 1m to 1h',
    ],
    [
      '  demand:',
      '  demand:\n    forecast: { minAccuracy: 0.7 }',
      '7:30 POLICY_VALUE spec.demand.forecast.minAccuracy | 0.7 has no percent sign | write 70%',
    ],
    [
      'queue: { task: { cpu: 2, memory: 4GiB }, maxWait: 60s }',
      'forecast: {}',
      '6:3 POLICY_CONFLICT spec.demand | nothing says how much is needed | add utilization, queue, headroom or a schedule with min under spec.demand, such as `queue: { task: { cpu: 2, memory: 4GiB } }`',
    ],
    // several keys at once
    [
      'min: 1',
      'min: 9',
      '12:20 POLICY_CONFLICT spec.burst.limits.min | min 9 is more than max 4 | write at most 4, or raise max',
    ],
    [
      '{ task: { cpu: 2, memory: 4GiB }, maxWait: 60s }',
      'null',
      '6:3 POLICY_CONFLICT spec.demand | nothing says how much is needed | add utilization, queue, headroom or a schedule with min under spec.demand, such as `queue: { task: { cpu: 2, memory: 4GiB } }`',
    ],
    [
      'queue: { task: { cpu: 2, memory: 4GiB }, maxWait: 60s }',
      'headroom: { tasks: 2 }',
      '7:5 POLICY_CONFLICT spec.demand.headroom | headroom counts tasks of the shape of queue.task, and there is no queue | add spec.demand.queue, such as `queue: { task: { cpu: 2, memory: 4GiB } }`',
    ],
    [
      'limits:',
      'instances: { architectures: [x86_64, arm64] }\n    limits:',
      '12:42 POLICY_CONFLICT spec.burst.instances.architectures[1] | there is no image for arm64 | add spec.burst.image.arm64, or delete it here',
    ],
    // YAML itself
    [
      'limits:',
      'instances: { exclude: [*.metal] }\n    limits:',
      '12:28 POLICY_YAML_FEATURE  | *.metal is read as a YAML alias, which policies do not have | write "*.metal" if the star is meant',
    ],
    [
      'max: 4',
      'max: !!int "4"',
      '12:28 POLICY_YAML_FEATURE  | policies have no YAML tags | delete the tag, or put text that begins with ! in quotes',
    ],
    [
      'agents: {',
      'agents: &a {',
      '5:11 POLICY_YAML_FEATURE  | policies have no YAML anchors | delete the anchor and write the value where it is needed, or put text that begins with & in quotes',
    ],
    [
      'agents: {',
      'agents: { <<: {},',
      '5:13 POLICY_YAML_FEATURE spec.agents.<< | policies have no YAML merge keys | delete it and write the keys that are meant',
    ],
    [
      'apiVersion',
      '%YAML 1.1\n---\napiVersion',
      '1:1 POLICY_YAML_FEATURE  | policies have no YAML directives | delete this line',
    ],
    [
      '  drain: { deadline: 20m }\n',
      '---\nkind: Other\n',
      '16:1 POLICY_SYNTAX  | a second document begins here | write one policy per file',
    ],
    [
      '  drain: { deadline: 20m }\n',
      '\t drain: {}\n',
      '16:1 POLICY_SYNTAX  | not valid YAML: Tabs are not allowed as indentation | indent with spaces',
    ],
    ['transcode }', 'transcode\u0007 }', '3:28 POLICY_SYNTAX  | the character 0x07 cannot be in a policy | delete it'],
  ])('%s -> %s', (passage, replacement, expected) => {
    expect(issueLines(edited(passage, replacement))).toEqual([expected]);
  });
});
