import { styleText } from 'node:util';
import type { Options } from '../options.ts';
import { usage } from '../options.ts';
import type { OutputShape } from '../types.ts';
import { csvDocument } from './csv.ts';
import { alignedTable, selectColumns, tabbedTable, type Column } from './table.ts';

/** Version of every JSON document; additions keep it, removals change it. */
export const API_VERSION = 'spillway/v1';

/** A stream as the CLI needs it; process.stdout and process.stderr fit. */
export interface TextStream {
  readonly isTTY?: boolean;
  write(text: string | Uint8Array): unknown;
}

export interface OutputStreams {
  readonly stdout: TextStream;
  readonly stderr: TextStream;
  readonly env: Readonly<Record<string, string | undefined>>;
}

export interface ListOutput<T> {
  /** e.g. `MachineList`. */
  readonly kind: string;
  readonly items: readonly T[];
  readonly columns: readonly Column<T>[];
  /** For `-o name` and `-q`. */
  readonly name: (item: T) => string;
  /** Said on standard error when there is nothing. */
  readonly empty: string;
}

type Style = 'green' | 'yellow' | 'red' | 'bold' | 'dim';

/** Colour repeats what a word says already; it never carries meaning alone. */
const STATE_STYLES: Readonly<Record<string, Style>> = {
  ready: 'green',
  fresh: 'green',
  done: 'green',
  running: 'green',
  ok: 'green',
  applied: 'green',
  draining: 'yellow',
  leaving: 'yellow',
  pending: 'yellow',
  stale: 'yellow',
  cordoned: 'yellow',
  unknown: 'yellow',
  failed: 'red',
  failing: 'red',
  terminating: 'dim',
  terminated: 'dim',
  cancelled: 'dim',
};

const OBJECT_FORMS = ['table', 'wide', 'json', 'jsonl', 'yaml'];

/** Everything a command says. Data goes to standard output in the form asked for; the rest goes to standard error. */
export class Output {
  readonly form: string;
  readonly quiet: boolean;
  readonly interactive: boolean;
  readonly #streams: OutputStreams;
  readonly #options: Options;
  readonly #colored: boolean;

  constructor(streams: OutputStreams, options: Options, shape: OutputShape) {
    this.#streams = streams;
    this.#options = options;
    this.form = options.text('output') ?? 'table';
    this.quiet = options.isSet('quiet');
    this.interactive = streams.stdout.isTTY === true;
    this.#colored = isColored(options.text('color') ?? 'auto', streams);
    if (this.form === 'html' && shape !== 'report') {
      throw usage('-o html is for reports; this command has none', 'use -o json or leave -o out');
    }
    if ((shape === 'object' || shape === 'report') && ![...OBJECT_FORMS, 'html'].includes(this.form)) {
      throw usage(
        `-o ${this.form} is for lists; this command shows one thing`,
        'use -o json or -o yaml, or leave -o out',
      );
    }
  }

  get isMachineReadable(): boolean {
    return this.form === 'json' || this.form === 'jsonl' || this.form === 'yaml';
  }

  paint(style: Style, text: string): string {
    return this.#colored ? styleText(style, text, { validateStream: false }) : text;
  }

  paintState(state: string): string {
    const style = STATE_STYLES[state];
    return style === undefined ? state : this.paint(style, state);
  }

  /** One line of text on standard output. */
  line(text: string): void {
    this.#streams.stdout.write(`${text}\n`);
  }

  /** Bytes as they are on standard output. */
  raw(content: string | Uint8Array): void {
    this.#streams.stdout.write(content);
  }

  /** A remark that is not data; kept back by -q. */
  hint(text: string): void {
    if (!this.quiet) this.#streams.stderr.write(`${text}\n`);
  }

  /** Said even with -q. */
  warn(text: string): void {
    this.#streams.stderr.write(`${text}\n`);
  }

  /** A list in whatever form was asked for. */
  async list<T>(list: ListOutput<T>): Promise<void> {
    const { kind, items } = list;
    if (this.form === 'json') return this.line(JSON.stringify({ apiVersion: API_VERSION, kind, items }, null, 2));
    if (this.form === 'jsonl') return items.forEach((item) => this.line(JSON.stringify(item)));
    if (this.form === 'yaml') return this.raw(await toYaml({ apiVersion: API_VERSION, kind, items }));
    if (this.form === 'name' || (this.quiet && this.form === 'table'))
      return items.forEach((item) => this.line(list.name(item)));
    const columns = selectColumns(list.columns, this.#options.text('columns'), this.form === 'wide');
    const headers = !this.#options.isSet('no-headers');
    if (this.form === 'csv') return this.raw(csvDocument(columns, items, headers));
    if (items.length === 0) return this.hint(list.empty);
    const lines = this.interactive
      ? alignedTable(columns, items, {
          headers,
          paint: (header, text) => (header === 'STATE' ? this.paintState(text) : text),
        })
      : tabbedTable(columns, items, headers);
    lines.forEach((line) => this.line(line));
  }

  /** A small table inside a longer text: aligned whether or not somebody looks, because people read it there. */
  block<T>(columns: readonly Column<T>[], items: readonly T[]): void {
    const paint = (header: string, text: string): string => (header === 'STATE' ? this.paintState(text) : text);
    alignedTable(columns, items, { headers: true, paint }).forEach((line) => this.line(line));
  }

  /** One thing: `text` writes it for people. */
  async object(kind: string, value: object, text: () => void): Promise<void> {
    const document = { apiVersion: API_VERSION, kind, ...value };
    if (this.form === 'json') return this.line(JSON.stringify(document, null, 2));
    if (this.form === 'jsonl') return this.line(JSON.stringify(document));
    if (this.form === 'yaml') return this.raw(await toYaml(document));
    text();
  }
}

async function toYaml(document: object): Promise<string> {
  const { stringify } = await import('yaml');
  return stringify(document, { lineWidth: 0, aliasDuplicateObjects: false });
}

function isColored(when: string, { stdout, env }: OutputStreams): boolean {
  if (when !== 'auto') return when === 'always';
  const forced = env['FORCE_COLOR'];
  if (forced !== undefined && forced !== '') return forced !== '0';
  if ((env['NO_COLOR'] ?? '') !== '' || env['TERM'] === 'dumb') return false;
  return stdout.isTTY === true;
}
