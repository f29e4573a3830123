/**
 * Goal: the shape of design.md section 3 is what the code has, not what it wishes for.
 * Method: every import of every file under `src/` is read and compared with the table of rows; an import goes only upwards.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';

const ROOT = fileURLToPath(new URL('..', import.meta.url));

/** An import goes only to a row above its own. Members of one row never import one another. */
const ROWS: readonly (readonly string[])[] = [
  ['model'],
  ['planner', 'cost'],
  ['backtest'],
  ['ports'],
  ['policy', 'config'],
  ['observability'],
  ['store', 'queue', 'cloud', 'ssh', 'sources'],
  ['jobs'],
  ['loops'],
  ['server', 'commands'],
  ['agent'],
  ['engine'],
  ['simulator'],
  // The only places that wire adapters in.
  ['wiring', 'chaos', 'main.ts', 'cli.ts'],
];
/** Folders that may wire see each other. */
const WIRING: readonly string[] = ['wiring', 'chaos', 'main.ts', 'cli.ts'];
/** These see adapters only through `ports/`. */
const WITHOUT_ADAPTERS: readonly string[] = ['jobs', 'loops', 'server', 'engine'];
const ADAPTERS: readonly string[] = ['store', 'queue', 'cloud', 'ssh', 'sources'];
const PURE: readonly string[] = ['model', 'planner', 'cost', 'backtest', 'ports'];
/** The solver, should the planner take it in, is maths. */
const PURE_PACKAGES: readonly string[] = ['highs'];
/** What `cost/` and `planner/` may take from `node:`: assertions are how a bug ends the process. */
const PURE_MODULES: readonly string[] = ['node:assert', 'node:assert/strict'];
const LINES_MAX = 400;

interface SourceFile {
  /** From the root of the checkout. */
  readonly path: string;
  readonly text: string;
  /** Without comments, so that an example in one is no code. */
  readonly code: string;
}

interface Import {
  readonly from: string;
  readonly specifier: string;
  /** From the root of the checkout; null for packages and `node:` modules. */
  readonly target: string | null;
  /** Needed for the file to be loaded: neither of types alone, nor asked for while the code runs. */
  readonly atLoad: boolean;
}

function listFiles(folder: string): SourceFile[] {
  return readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts'))
    .map((name) => {
      const text = readFileSync(join(ROOT, folder, name), 'utf8');
      return { path: join(folder, name), text, code: withoutComments(text) };
    });
}

/** Comments out, strings kept: a `//` or `/*` inside quotes begins no comment. */
function withoutComments(text: string): string {
  const tokens = /'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*"|`(?:[^`\\]|\\.)*`|\/\*[\s\S]*?\*\/|\/\/[^\n]*/g;
  return text.replaceAll(tokens, (token) => (token.startsWith('/') ? ' ' : token));
}

function importsOf({ path, code }: SourceFile): Import[] {
  const statements = /^\s*(?:import|export)\s+(type\s)?(?:[\w*\s{},$]*?\sfrom\s+)?'([^']+)'/gm;
  const dynamic = /\bimport\(\s*'([^']+)'\s*\)/g;
  const found = [...code.matchAll(statements)].map(([, type, specifier = '']) => ({
    specifier,
    atLoad: type === undefined,
  }));
  const lazy = [...code.matchAll(dynamic)].map(([, specifier = '']) => ({ specifier, atLoad: false }));
  return [...found, ...lazy].map((each) => ({
    ...each,
    from: path,
    target: each.specifier.startsWith('.') ? relative(ROOT, join(ROOT, dirname(path), each.specifier)) : null,
  }));
}

/** `src/jobs/launch.ts` -> `jobs`; `src/main.ts` -> `main.ts`. */
function areaOf(path: string): string {
  return path.split('/')[1] ?? '';
}

function rowOf(path: string): number {
  return ROWS.findIndex((row) => row.includes(areaOf(path)));
}

const sources = listFiles('src');
const imports = sources.flatMap(importsOf);
const inside = imports.flatMap((each) => (each.target === null ? [] : [{ ...each, target: each.target }]));
const outside = imports.filter(({ target }) => target === null);
const arrow = ({ from, target, specifier }: Import): string => `${from} -> ${target ?? specifier}`;

describe('imports', () => {
  test('are found at all, of every form', () => {
    const code =
      "import 'a';\nimport type { B } from './b.ts';\nexport { c } from '../c.ts';\nconst d = await import('./d.ts');\n";
    const found = importsOf({ path: 'src/jobs/x.ts', text: code, code });
    expect(found.map(arrow)).toEqual([
      'src/jobs/x.ts -> a',
      'src/jobs/x.ts -> src/jobs/b.ts',
      'src/jobs/x.ts -> src/c.ts',
      'src/jobs/x.ts -> src/jobs/d.ts',
    ]);
    expect(inside.length).toBeGreaterThan(500);
  });

  test('are all seen by the walk', () => {
    const words = sources.flatMap(({ path, code }) =>
      (code.match(/\bfrom '|\bimport\('|^import '/gm) ?? []).map(() => path),
    );
    expect(imports.length).toBe(words.length);
  });

  test('name files that exist', () => {
    const paths = new Set(sources.map(({ path }) => path));
    expect(inside.filter(({ target }) => target.endsWith('.ts') && !paths.has(target)).map(arrow)).toEqual([]);
  });

  test('come from folders of the table', () => {
    expect([...new Set(sources.map(({ path }) => areaOf(path)))].filter((area) => !ROWS.flat().includes(area))).toEqual(
      [],
    );
  });

  test('go only to a row above', () => {
    const wrong = inside.filter(({ from, target }) => {
      if (areaOf(from) === areaOf(target)) return false;
      if (WIRING.includes(areaOf(from)) && WIRING.includes(areaOf(target))) return false;
      return rowOf(target) >= rowOf(from);
    });
    expect(wrong.map(arrow)).toEqual([]);
  });

  test.each(WITHOUT_ADAPTERS)('of %s reach no adapter', (area) => {
    const wrong = inside.filter(({ from, target }) => areaOf(from) === area && ADAPTERS.includes(areaOf(target)));
    expect(wrong.map(arrow)).toEqual([]);
  });

  test.each(PURE)('of %s reach no package and no module of Node', (area) => {
    const wrong = outside.filter(
      ({ from, specifier }) =>
        areaOf(from) === area && !PURE_PACKAGES.includes(specifier) && !PURE_MODULES.includes(specifier),
    );
    expect(wrong.map(arrow)).toEqual([]);
  });

  test('form no cycle', () => {
    expect(
      findCycle(
        Map.groupBy(
          inside.filter(({ atLoad }) => atLoad),
          ({ from }) => from,
        ),
      ),
    ).toBeNull();
  });
});

/** The first cycle among imports that a file needs to be loaded, as a path; null when there is none. */
function findCycle(graph: ReadonlyMap<string, readonly { readonly target: string }[]>): string | null {
  const done = new Set<string>();
  const visit = (path: string, trail: readonly string[]): string | null => {
    if (trail.includes(path)) return [...trail.slice(trail.indexOf(path)), path].join(' -> ');
    if (done.has(path)) return null;
    for (const { target } of graph.get(path) ?? []) {
      const cycle = visit(target, [...trail, path]);
      if (cycle !== null) return cycle;
    }
    done.add(path);
    return null;
  };
  for (const path of graph.keys()) {
    const cycle = visit(path, []);
    if (cycle !== null) return cycle;
  }
  return null;
}

describe('files', () => {
  const all = [...sources, ...listFiles('test')];

  test('have names in kebab-case', () => {
    const wrong = all.filter(
      ({ path }) => !/^(?:[a-z0-9]+(?:-[a-z0-9]+)*(?:\.(?:test|generated))?\.ts|[a-z0-9-]+\/)+$/.test(path),
    );
    expect(wrong.map(({ path }) => path)).toEqual([]);
  });

  test(`have at most ${LINES_MAX} lines, unless they are generated`, () => {
    const long = all.filter(
      ({ path, text }) => !path.endsWith('.generated.ts') && text.trimEnd().split('\n').length > LINES_MAX,
    );
    expect(long.map(({ path }) => path)).toEqual([]);
  });

  test('export by name only', () => {
    expect(sources.filter(({ code }) => /^export default\b/m.test(code)).map(({ path }) => path)).toEqual([]);
  });
});

/** The outer world's time and chance. The core gets them through `ports/clock.ts` and `ports/ids.ts`. */
const OUTER_WORLD: readonly (readonly [string, RegExp])[] = [
  ['Date.now', /\bDate\.now\(/g],
  ['new Date()', /\bnew Date\(\s*\)/g],
  ['performance.now', /\bperformance\.now\(/g],
  ['Math.random', /\bMath\.random\b/g],
  ['timers', /\b(?:setTimeout|setInterval|setImmediate)\(|from 'node:timers(?:\/promises)?'/g],
  ['randomness', /\b(?:randomUUID|randomBytes|randomInt|getRandomValues)\b/g],
];

/** Where it may be touched, and why. */
const ALLOWED: Readonly<Record<string, string>> = {
  'src/wiring/system.ts': 'the clock and ids of production',
  'src/wiring/watchdog': 'a thread of its own that measures the real clock',
  'src/wiring/listeners.ts': 'the deadline of a local socket',
  'src/wiring/deployment-key.ts': 'makes the one secret everything else is derived from, before there are ports',
  'src/simulator/start.ts': 'runs the simulated region on the real clock',
  'src/simulator/hosts/': 'real processes and sockets',
  'src/simulator/wire/': 'HTTP',
  'src/ssh/': 'deadlines of sockets',
  'src/cloud/': 'deadlines of HTTP calls',
  'src/queue/': 'deadlines and locks of BullMQ',
  'src/store/embedded': 'starts and watches a server process',
  'src/store/generate-types.ts': 'a tool for developers, not part of the service',
  'src/server/': 'deadlines of long polls',
  'src/commands/': 'the CLI waits for the service in real time',
  'src/chaos/': 'its processes, real sessions and the tripwire itself; what it runs inside is watched by that wire',
  'src/main.ts': 'wires',
  'src/cli.ts': 'wires',
};

describe('time and chance', () => {
  test.each(OUTER_WORLD)('%s is used only where the outer world is', (_name, pattern) => {
    const wrong = sources.filter(
      ({ path, code }) =>
        !Object.keys(ALLOWED).some((prefix) => path.startsWith(prefix)) && code.match(pattern) !== null,
    );
    expect(wrong.map(({ path }) => path)).toEqual([]);
  });

  test('process.env is read by the configuration alone', () => {
    const reads = sources.filter(({ path, code }) => /\bprocess\.env\b/.test(code) && !path.startsWith('src/config/'));
    // The CLI hands the environment to the configuration; the simulated hosts give their processes one.
    const allowed = ['src/cli.ts', 'src/simulator/hosts/', 'src/commands/'];
    expect(reads.map(({ path }) => path).filter((path) => !allowed.some((prefix) => path.startsWith(prefix)))).toEqual(
      [],
    );
  });
});
