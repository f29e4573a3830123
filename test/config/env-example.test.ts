import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { renderEnvExample } from '../../src/config/env-example.ts';
import { readConfig } from '../../src/config/read-config.ts';
import { redactUrl } from '../../src/config/redact-url.ts';
import { VARIABLES } from '../../src/config/variables.ts';

describe('.env.example', () => {
  const file = readFileSync(new URL('../../.env.example', import.meta.url), 'utf8');

  test('is made from the table of variables', () => {
    expect(file).toBe(renderEnvExample());
  });

  test('names every variable once, with its meaning and default', () => {
    const named = [...file.matchAll(/^#([A-Z_0-9]+)=/gm)].map(([, name]) => name);
    expect(named).toEqual(VARIABLES.map(({ name }) => name));
    for (const { meaning } of VARIABLES) expect(file).toContain(`# ${meaning}.`);
  });

  test('changes nothing when it is uncommented as it is', () => {
    const env = Object.fromEntries(
      [...file.matchAll(/^#([A-Z_0-9]+)=(.*)$/gm)].map(([, name, value]) => [name, value]),
    );
    const { origins: _, ...config } = readConfig(env, { cwd: '/srv' });
    expect(readConfig({}, { cwd: '/srv' })).toMatchObject(config);
  });
});

describe('redactUrl', () => {
  test.each([
    ['postgres://u:secret@db:5432/s', 'postgres://u:***@db:5432/s'],
    ['rediss://:secret@q:6379', 'rediss://:***@q:6379'],
    [
      'postgres://db/s?password=secret&sslmode=require&sslkey=secret',
      'postgres://db/s?password=***&sslmode=require&sslkey=***',
    ],
    ['postgres://db/s#secret', 'postgres://db/s'],
    ['redis://q', 'redis://q'],
    ['secret', '***'],
    ['', '***'],
  ])('%s -> %s', (url, expected) => {
    expect(redactUrl(url)).toBe(expected);
  });
});
