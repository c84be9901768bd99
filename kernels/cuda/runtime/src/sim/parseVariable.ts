import { floatLiteral, integerLiteral, typeBytes, writeElement } from './literal.ts';
import type { Reader } from './parser.ts';
import { PtxError, type Variable, type VariableSpace } from './ptx.ts';

/**
 * Parses the rest of a variable declaration after its state space: `.align 4 .b8 name[16] = {…};`. A parameter (`param`) ends
 * without semicolon.
 */
export function parseVariable(reader: Reader, space: string, extern: boolean, param = false): Variable[] {
  let align: number | undefined;
  let lanes = 1;
  let type: string | undefined;
  while (type === undefined) {
    const directive = reader.take();
    if (directive.text === '.align') align = reader.integer();
    else if (directive.text === '.v2' || directive.text === '.v4') lanes = Number(directive.text[2]);
    else if (directive.text === '.ptr') {
      // `.ptr .global .align 4` after a parameter's type only promises alignment.
    } else type = directive.text;
  }
  const elementBytes = typeBytes(type, reader.peek().line);
  if (param) {
    if (reader.accept('.ptr'))
      while (reader.peek().kind === 'directive') if (reader.take().text === '.align') reader.integer();
  }
  const variables: Variable[] = [];
  do {
    const name = reader.word('a variable name');
    let count = lanes;
    let unsized = false;
    while (reader.accept('[')) {
      if (reader.peek().text === ']') unsized = true;
      else count *= reader.integer();
      reader.expect(']');
    }
    const values: Element[] = [];
    if (reader.accept('=')) parseInitialiser(reader, values);
    if (unsized) count = values.length;
    const bytes = count * elementBytes;
    const relocations: Variable['relocations'][number][] = [];
    let initial: Uint8Array | undefined;
    if (values.length > 0) {
      initial = new Uint8Array(bytes);
      const view = new DataView(initial.buffer);
      for (const [i, value] of values.entries()) {
        if (typeof value === 'object' && 'symbol' in value) relocations.push({ offset: i * elementBytes, ...value });
        else writeElement(view, i * elementBytes, type, value);
      }
    }
    const natural = Math.min(elementBytes * lanes, 16);
    variables.push({
      name,
      space: space.slice(1) as VariableSpace,
      align: align ?? natural,
      bytes,
      extern,
      initial,
      relocations,
    });
  } while (!param && reader.accept(','));
  if (!param) reader.expect(';');
  return variables;
}

type Element = bigint | { value: number; bits?: number } | { symbol: string; addend: number };

function parseInitialiser(reader: Reader, into: Element[]): void {
  if (reader.accept('{')) {
    while (!reader.accept('}')) {
      parseInitialiser(reader, into);
      if (reader.peek().text !== '}') reader.expect(',');
    }
    return;
  }
  const negative = reader.accept('-') !== undefined;
  const token = reader.take();
  if (token.kind === 'integer') into.push(negative ? -integerLiteral(token.text) : integerLiteral(token.text));
  else if (token.kind === 'float') {
    const literal = floatLiteral(token.text);
    into.push(negative ? { value: -literal.value } : literal);
  } else if (token.kind === 'word' && !negative) {
    let symbol = token.text;
    if (symbol === 'generic' && reader.accept('(')) {
      symbol = reader.word('a variable name');
      reader.expect(')');
    }
    into.push({ symbol, addend: reader.accept('+') ? reader.integer() : 0 });
  } else throw new PtxError(token.line, `unexpected ${token.text} in an initialiser`);
}
