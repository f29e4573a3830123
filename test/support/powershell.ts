/** PowerShell as its grammar reads it: no PowerShell runs where these tests do. */
import { createRequire } from 'node:module';
import { Language, Parser, type Node } from 'web-tree-sitter';

const require = createRequire(import.meta.url);
await Parser.init();
const parser = new Parser();
parser.setLanguage(await Language.load(require.resolve('tree-sitter-powershell/tree-sitter-powershell.wasm')));

const QUOTES = new Set(["'", '\u2018', '\u2019', '\u201a', '\u201b']);

function* nodesOf(node: Node): Generator<Node> {
  yield node;
  for (const child of node.children) if (child !== null) yield* nodesOf(child);
}

function parse(text: string): Node {
  const tree = parser.parse(text.replace(/^\uFEFF/, ''));
  if (tree === null) throw new Error('the parser gave up');
  return tree.rootNode;
}

/** Where the text is no PowerShell, as `line:column what is there`; empty = it is. */
export function mistakesOf(text: string): string[] {
  return [...nodesOf(parse(text))]
    .filter((node) => node.isError || node.isMissing)
    .map((node) => `${node.startPosition.row + 1}:${node.startPosition.column + 1} ${node.text.slice(0, 60)}`);
}

/** The texts of nodes of a kind, in order. */
export function textsOf(text: string, type: string): string[] {
  return [...nodesOf(parse(text))].filter((node) => node.type === type).map((node) => node.text);
}

/** The values of all single-quoted strings, in order, by PowerShell's own rule, which knows more quotes than the grammar does. */
export function literalsOf(text: string): string[] {
  return textsOf(text, 'verbatim_string_characters').map(readLiteral);
}

function readLiteral(written: string): string {
  const inner = written.slice(1, -1).split('');
  let value = '';
  for (let index = 0; index < inner.length; index += 1) {
    const character = inner[index] ?? '';
    if (QUOTES.has(character)) {
      index += 1;
      if (!QUOTES.has(inner[index] ?? '')) throw new Error(`the string ends too soon: ${written}`);
    }
    value += inner[index] ?? character;
  }
  return value;
}
