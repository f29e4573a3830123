/**
 * Writes the files that are made from others, or with --check compares them: `npm run generate`, `npm run generate:check`.
 * A new one is a line in GENERATORS.
 */
import { readFile, writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import type pg from 'pg';
import { renderCliDocs } from '../../src/commands/cli-docs.ts';
import { renderEnvExample } from '../../src/config/env-example.ts';
import { renderWaitsDocs } from '../../src/model/waits-docs.ts';
import { renderPolicySchema } from '../../src/policy/json-schema.ts';
import { dumpSchema } from '../../src/store/dump-schema.ts';
import { generateTypes } from '../../src/store/generate-types.ts';
import { errnoOf } from '../../src/store/embedded-cluster.ts';
import { MUTANTS } from '../mutants/mutants.ts';
import {
  type Kill,
  type ReliabilityReport,
  reportMutants,
  withReliabilityTable,
} from '../simulation/reliability-report.ts';
import { renderPlannerVersion, VERSION_FILE } from './planner-version.ts';
import { startTestPostgres, withClient } from './postgres.ts';

interface Sources {
  /** Connected to a freshly migrated database. */
  readonly client: pg.Client;
}

interface Generator {
  /** From the root of the checkout. */
  readonly path: string;
  produce(sources: Sources): Promise<string>;
}

const GENERATORS: readonly Generator[] = [
  { path: 'migrations/schema.sql', produce: ({ client }) => dumpSchema(client) },
  { path: 'src/store/database.generated.ts', produce: ({ client }) => generateTypes(client) },
  { path: VERSION_FILE, produce: async () => await renderPlannerVersion() },
  { path: 'docs/policy-schema.json', produce: async () => renderPolicySchema() },
  { path: 'docs/waits.md', produce: async () => renderWaitsDocs() },
  { path: 'docs/cli.md', produce: async () => renderCliDocs() },
  { path: 'docs/reliability.json', produce: async () => await renderReliability() },
  { path: 'README.md', produce: async () => await renderReadme() },
  { path: '.env.example', produce: async () => renderEnvExample() },
];

const check = process.argv.includes('--check');
const server = await startTestPostgres();
try {
  const differing = await withClient(server.templateUrl, (client) => run({ client }));
  if (check && differing.length > 0) {
    process.stderr.write(
      `generated files differ from their sources: ${differing.join(', ')}\nrun \`npm run generate\` and commit them\n`,
    );
    process.exitCode = 1;
  }
} finally {
  await server.stop();
}

/** The paths whose content was not what it should be; written unless only checking. */
async function run(sources: Sources): Promise<readonly string[]> {
  const differing: string[] = [];
  for (const generator of GENERATORS) {
    const file = fileURLToPath(new URL(`../../${generator.path}`, import.meta.url));
    const wanted = await generator.produce(sources);
    if ((await readIfPresent(file)) === wanted) continue;
    differing.push(generator.path);
    if (check) continue;
    await writeFile(file, wanted);
    process.stderr.write(`wrote ${generator.path}\n`);
  }
  return differing;
}

/** The campaign stays as it was; of the planted bugs it claims what is on record, no more and no less. */
async function renderReliability(): Promise<string> {
  const kills = JSON.parse(await readHere('test/mutants/killed.json')) as Readonly<Record<string, Kill>>;
  const mutants = reportMutants(
    MUTANTS.map(({ name }) => name),
    kills,
  );
  return `${JSON.stringify({ ...(await readReport()), mutants }, null, 2)}\n`;
}

/** Only the table between its markers is made; the rest stays as it is written. */
async function renderReadme(): Promise<string> {
  return withReliabilityTable(await readHere('README.md'), await readReport());
}

async function readReport(): Promise<ReliabilityReport> {
  return JSON.parse(await readHere('docs/reliability.json')) as ReliabilityReport;
}

async function readHere(path: string): Promise<string> {
  return await readFile(new URL(`../../${path}`, import.meta.url), 'utf8');
}

async function readIfPresent(file: string): Promise<string | null> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return null;
    throw error;
  }
}
