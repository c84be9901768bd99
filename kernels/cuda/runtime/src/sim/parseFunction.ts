import { floatLiteral, integerLiteral } from './literal.ts';
import type { Reader } from './parser.ts';
import { parseVariable } from './parseVariable.ts';
import {
  type Instruction,
  type Operand,
  PtxError,
  type PtxFunction,
  type Register,
  type RegisterBits,
  type SourceLine,
  type Variable,
} from './ptx.ts';
import { Scope } from './scope.ts';

/** Name that is no register: a variable, label or function, resolved when the function has been read. */
interface Pending {
  kind: 'pending';
  name: string;
  scope: Scope;
  line: number;
  offset: number;
}
type Raw = Operand | Pending;

/** Parses `{ … }` of a function; `params` are visible in it, `globals` and `known` are the module's so far. */
export function parseBody(
  reader: Reader,
  params: readonly Variable[],
  globals: readonly Variable[],
  known: ReadonlyMap<string, PtxFunction>,
  files: ReadonlyMap<number, string>,
): Pick<PtxFunction, 'body' | 'labels' | 'branchTargets' | 'registers' | 'variables'> {
  const registers: Register[] = [];
  const variables: Variable[] = [];
  const labels = new Map<string, number>();
  const branchTargets = new Map<string, { scope: Scope; names: string[]; line: number }>();
  const body: { instruction: Omit<Instruction, 'operands'>; operands: Raw[] }[] = [];
  let source: SourceLine | undefined;
  let scopes = 0;

  const parseScope = (scope: Scope): void => {
    while (!reader.accept('}')) {
      const start = reader.peek();
      if (reader.accept('{')) parseScope(new Scope(scope, String(++scopes)));
      else if (reader.accept('.reg')) parseRegisters(reader, scope, registers);
      else if (reader.accept('.loc')) source = parseLocation(reader, files);
      else if (reader.accept('.pragma')) reader.skipPast(';');
      else if (reader.accept('.param', '.shared', '.local', '.const', '.global')) {
        for (const variable of parseVariable(reader, start.text, false)) {
          scope.variables.set(variable.name, variable);
          variables.push(variable);
        }
      } else if (start.kind === 'word' && reader.peek(1).text === ':') {
        reader.take();
        reader.take();
        const label = scope.defineLabel(start.text, start.line);
        if (reader.accept('.branchtargets')) {
          const names = [reader.word('a label')];
          while (reader.accept(',')) names.push(reader.word('a label'));
          reader.expect(';');
          branchTargets.set(label, { scope, names, line: start.line });
        } else labels.set(label, body.length);
      } else if (start.kind === 'word' || start.text === '@') body.push(parseInstruction(scope));
      else if (!reader.accept(';')) throw new PtxError(start.line, `unexpected ${start.text}`);
    }
  };

  const parseInstruction = (scope: Scope): (typeof body)[number] => {
    let guard: Instruction['guard'];
    const line = reader.peek().line;
    if (reader.accept('@')) {
      const negated = reader.accept('!') !== undefined;
      guard = { register: needRegister(reader.word('a predicate'), scope, line), negated };
    }
    const [name, ...modifiers] = reader.word('an instruction').split('.');
    const operands: Raw[] = [];
    while (!reader.accept(';')) {
      operands.push(parseOperand(scope));
      if (reader.peek().text !== ';') reader.expect(',');
    }
    return { instruction: { name, modifiers, guard, line, source }, operands };
  };

  const needRegister = (name: string, scope: Scope, line: number): Register => {
    const register = scope.register(name, registers);
    if (register === undefined) throw new PtxError(line, `register ${name} is not declared`);
    return register;
  };

  const elements = (scope: Scope, close: string): Raw[] => {
    const list: Raw[] = [];
    while (!reader.accept(close)) {
      list.push(parseOperand(scope));
      if (reader.peek().text !== close) reader.expect(',');
    }
    return list;
  };

  const parseOperand = (scope: Scope): Raw => {
    const start = reader.peek();
    if (reader.accept('{')) return { kind: 'vector', elements: elements(scope, '}') as Operand[] };
    if (reader.accept('(')) return { kind: 'list', elements: elements(scope, ')') as Operand[] };
    if (reader.accept('!')) return { kind: 'not', operand: parseOperand(scope) as Operand };
    if (reader.accept('[')) {
      const base = reader.peek().kind === 'integer' ? undefined : parseAtom(scope);
      let offset = base === undefined ? reader.integer() : 0;
      while (reader.peek().text === '+' || reader.peek().text === '-') {
        const sign = reader.take().text === '-' ? -1 : 1;
        offset += sign * reader.integer();
      }
      reader.expect(']');
      return { kind: 'address', base: base as Operand | undefined, offset };
    }
    const atom = parseAtom(scope);
    if (reader.accept('|')) return { kind: 'pair', first: atom as Operand, second: parseAtom(scope) as Operand };
    if (atom.kind === 'pending') {
      while (reader.peek().text === '+' || reader.peek().text === '-') {
        const sign = reader.take().text === '-' ? -1 : 1;
        atom.offset += sign * reader.integer();
      }
    }
    if (atom.kind === 'sink' && start.text !== '_') throw new PtxError(start.line, `unexpected ${start.text}`);
    return atom;
  };

  const parseAtom = (scope: Scope): Raw => {
    const negative = reader.accept('-') !== undefined;
    const token = reader.take();
    if (token.kind === 'integer') {
      const value = integerLiteral(token.text);
      return { kind: 'integer', value: negative ? -value : value };
    }
    if (token.kind === 'float') {
      const literal = floatLiteral(token.text);
      return negative ? { kind: 'float', value: -literal.value } : { kind: 'float', ...literal };
    }
    if (token.kind !== 'word' || negative) throw new PtxError(token.line, `unexpected ${token.text} as an operand`);
    if (token.text === '_') return { kind: 'sink' };
    if (token.text === 'WARP_SZ') return { kind: 'integer', value: 32n };
    const register = scope.register(token.text, registers);
    if (register !== undefined) return { kind: 'register', register };
    if (token.text.startsWith('%')) return { kind: 'special', name: token.text };
    return { kind: 'pending', name: token.text, scope, line: token.line, offset: 0 };
  };

  const resolve = (raw: Raw): Operand => {
    switch (raw.kind) {
      case 'pending': {
        const variable =
          raw.scope.variable(raw.name) ??
          params.find((v) => v.name === raw.name) ??
          globals.find((v) => v.name === raw.name);
        if (variable !== undefined) return { kind: 'variable', variable, offset: raw.offset };
        const label = raw.scope.label(raw.name);
        if (label !== undefined) return { kind: 'label', name: label };
        if (known.has(raw.name)) return { kind: 'function', name: raw.name };
        throw new PtxError(raw.line, `unknown name ${raw.name}`);
      }
      case 'vector':
      case 'list':
        return { kind: raw.kind, elements: raw.elements.map(resolve) };
      case 'pair':
        return { kind: 'pair', first: resolve(raw.first), second: resolve(raw.second) };
      case 'not':
        return { kind: 'not', operand: resolve(raw.operand) };
      case 'address':
        return { kind: 'address', base: raw.base && resolve(raw.base), offset: raw.offset };
      default:
        return raw;
    }
  };

  reader.expect('{');
  parseScope(new Scope(undefined, '0'));
  const targets = new Map<string, readonly string[]>();
  for (const [label, { scope, names, line }] of branchTargets) {
    const resolved = names.map((name) => {
      const target = scope.label(name);
      if (target === undefined) throw new PtxError(line, `unknown label ${name}`);
      return target;
    });
    targets.set(label, resolved);
  }
  return {
    body: body.map(({ instruction, operands }) => ({ ...instruction, operands: operands.map(resolve) })),
    labels,
    branchTargets: targets,
    registers,
    variables,
  };
}

function parseRegisters(reader: Reader, scope: Scope, all: Register[]): void {
  const type = reader.take();
  const bits = type.text === '.pred' ? 1 : registerBits(type.text);
  if (bits === undefined) throw new PtxError(type.line, `unsupported register type ${type.text}`);
  do {
    const name = reader.word('a register name');
    if (reader.accept('<')) {
      scope.families.set(name, { bits, count: reader.integer() });
      reader.expect('>');
    } else scope.declare(name, bits, all);
  } while (reader.accept(','));
  reader.expect(';');
}

function registerBits(type: string): RegisterBits | undefined {
  const match = /^\.(?:[bsu](8|16|32|64)|f(16|32|64)|b?f(16)x2|bf(16))$/.exec(type);
  if (match === null) return undefined;
  return (match[3] !== undefined ? 32 : Number(match[1] ?? match[2] ?? match[4])) as RegisterBits;
}

// `.loc file line column[, function_name label, inlined_at file line column]`: the innermost place is the one reported.
function parseLocation(reader: Reader, files: ReadonlyMap<number, string>): SourceLine | undefined {
  const file = reader.integer();
  const line = reader.integer();
  reader.integer();
  if (reader.accept(',')) {
    reader.expect('function_name');
    reader.word('a label');
    if (reader.accept('+')) reader.integer();
    reader.expect(',');
    reader.expect('inlined_at');
    for (let i = 0; i < 3; i++) reader.integer();
  }
  return line === 0 ? undefined : { file: files.get(file) ?? `file ${file}`, line };
}
