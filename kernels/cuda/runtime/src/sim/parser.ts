import { type Token, tokenize } from './lexer.ts';
import { integerLiteral } from './literal.ts';
import { parseBody } from './parseFunction.ts';
import { parseVariable } from './parseVariable.ts';
import { PtxError, type PtxFunction, type PtxModule, type Variable } from './ptx.ts';

/** Reads the tokens of one PTX text in order. */
export class Reader {
  readonly #tokens: Token[];
  #next = 0;

  constructor(text: string) {
    this.#tokens = tokenize(text);
  }

  peek(ahead = 0): Token {
    return this.#tokens[Math.min(this.#next + ahead, this.#tokens.length - 1)];
  }

  take(): Token {
    const token = this.peek();
    this.#next++;
    return token;
  }

  /** Takes the token if its text is one of `texts`. */
  accept(...texts: string[]): string | undefined {
    const { kind, text } = this.peek();
    if (kind === 'string' || !texts.includes(text)) return undefined;
    this.#next++;
    return text;
  }

  expect(...texts: string[]): Token {
    const token = this.peek();
    if (this.accept(...texts) === undefined) {
      throw new PtxError(token.line, `expected ${texts.join(' or ')}, found ${token.text}`);
    }
    return token;
  }

  word(what: string): string {
    const token = this.take();
    if (token.kind !== 'word') throw new PtxError(token.line, `expected ${what}, found ${token.text}`);
    return token.text;
  }

  integer(): number {
    const negative = this.accept('-') !== undefined;
    const token = this.take();
    if (token.kind !== 'integer') throw new PtxError(token.line, `expected an integer, found ${token.text}`);
    const value = Number(integerLiteral(token.text));
    return negative ? -value : value;
  }

  skipPast(text: string): void {
    for (;;) {
      const token = this.take();
      if (token.text === text) return;
      if (token.kind === 'end') throw new PtxError(token.line, `expected ${text}, found the end of the file`);
    }
  }
}

const linkage = ['.visible', '.extern', '.weak', '.common'];
const variableSpaces = ['.global', '.const', '.shared'];

/** Parses a PTX module. Throws PtxError naming line and cause. */
export function parsePtx(text: string): PtxModule {
  const reader = new Reader(text);
  const files = fileNames(text);
  let version: readonly [number, number] | undefined;
  let target = '';
  const functions = new Map<string, PtxFunction>();
  const variables: Variable[] = [];
  while (reader.peek().kind !== 'end') {
    const start = reader.peek();
    if (reader.accept('.version')) {
      const [major, minor] = reader.take().text.split('.');
      version = [Number(major), Number(minor ?? 0)];
    } else if (reader.accept('.target')) {
      target = reader.word('a target');
      while (reader.accept(',')) reader.take();
    } else if (reader.accept('.address_size')) {
      if (reader.integer() !== 64) throw new PtxError(start.line, 'only .address_size 64 is supported');
    } else if (reader.accept('.file')) {
      reader.integer();
      reader.take();
      while (reader.accept(',')) reader.integer();
    } else if (reader.accept('.section')) {
      reader.skipPast('}');
    } else if (reader.accept('.pragma')) {
      reader.skipPast(';');
    } else {
      const attributes = new Set<string>();
      for (let a = reader.accept(...linkage); a !== undefined; a = reader.accept(...linkage)) attributes.add(a);
      const kind = reader.peek();
      if (reader.accept('.entry', '.func')) {
        const parsed = parseFunction(reader, kind.text === '.entry', kind.line, variables, functions, files);
        // A definition replaces its earlier declaration.
        if (parsed.body !== undefined || !functions.has(parsed.name)) functions.set(parsed.name, parsed);
      } else if (variableSpaces.includes(kind.text)) {
        reader.take();
        variables.push(...parseVariable(reader, kind.text, attributes.has('.extern')));
      } else throw new PtxError(kind.line, `unexpected ${kind.text}`);
    }
  }
  if (version === undefined) throw new PtxError(1, 'no .version directive');
  return { version, target, functions, variables };
}

// The `.file` table stands at the end of the text, the `.loc` lines that need it before.
function fileNames(text: string): Map<number, string> {
  const files = new Map<number, string>();
  for (const match of text.matchAll(/^\s*\.file\s+(\d+)\s+"([^"]*)"/gm)) {
    files.set(Number(match[1]), match[2].replace(/^.*[/\\]/, ''));
  }
  return files;
}

function parseFunction(
  reader: Reader,
  entry: boolean,
  line: number,
  globals: readonly Variable[],
  known: ReadonlyMap<string, PtxFunction>,
  files: ReadonlyMap<number, string>,
): PtxFunction {
  const returns = reader.peek().text === '(' ? parseParams(reader) : [];
  const name = reader.word('a function name');
  const params = reader.peek().text === '(' ? parseParams(reader) : [];
  let maxThreads: number | undefined;
  while (reader.peek().text !== '{' && reader.peek().text !== ';') {
    const directive = reader.take();
    switch (directive.text) {
      case '.maxntid':
      case '.reqntid':
        maxThreads = reader.integer();
        while (reader.accept(',')) maxThreads *= reader.integer();
        break;
      case '.minnctapersm':
      case '.maxnctapersm':
      case '.maxnreg':
        reader.integer();
        break;
      case '.noreturn':
        break;
      case '.pragma':
        reader.skipPast(';');
        break;
      default:
        throw new PtxError(directive.line, `unsupported directive ${directive.text} of ${name}`);
    }
  }
  const header = { name, entry, line, params, returns, maxThreads };
  if (reader.accept(';')) {
    return { ...header, body: undefined, labels: new Map(), branchTargets: new Map(), registers: [], variables: [] };
  }
  return { ...header, ...parseBody(reader, [...params, ...returns], globals, known, files) };
}

function parseParams(reader: Reader): Variable[] {
  reader.expect('(');
  const params: Variable[] = [];
  while (!reader.accept(')')) {
    reader.expect('.param', '.reg');
    params.push(...parseVariable(reader, '.param', false, true));
    if (reader.peek().text !== ')') reader.expect(',');
  }
  return params;
}
