// Products of 32 bits on which an address in global memory depends, or what an index of 64 bits is compared with: two sizes,
// as a number of rows and their length are, may have a product that 32 bits do not hold.

interface Definition {
  op: string;
  sources: string[];
}

const WIDENING = /^(cvt\.[su]64\.[su]32|m(ul|ad)\.wide)/;
/** With neither shared memory's 32-bit addresses nor parameters. */
const ACCESS = /^(@!?%p\d+\s+)?((ld|st|atom|red)\.(?!param|shared|local).*?\[%rd\d+|cp\.async\.c.*?\], *\[%rd\d+)/;
/** Of an index of 64 bits. */
const BOUND = /^setp\.\w+\.[su]64\s.*/;
const INSTRUCTION = /^(?:@!?%p\d+\s+)?([a-z][\w.:]*)\s+(.*);$/;
/** They write no register, or one that no longer is what an index was computed from. */
const NO_INDEX = /^(st|red|bra|bar|setp|cp|ld|atom|shfl|mma|ldmatrix)\b/;

const registers = (operand: string): string[] => operand.match(/%\w+/g) ?? [];

function definitions(lines: readonly string[]): Map<string, Definition[]> {
  const all = new Map<string, Definition[]>();
  for (const line of lines) {
    const [, op, operands] = INSTRUCTION.exec(line) ?? [];
    if (op === undefined || (NO_INDEX.test(op) && !op.startsWith('ld.param'))) continue;
    const [target, ...sources] = operands.split(/,\s*(?![^{]*\})/);
    for (const r of registers(target)) all.set(r, [...(all.get(r) ?? []), { op, sources }]);
  }
  return all;
}

/** What a register holds, as far as one look tells: `shr(add([4], 127), 7)`, where [4] is the parameter of that number. */
function formOf(operand: string, all: ReadonlyMap<string, Definition[]>, depth = 0): string {
  const own = all.get(operand) ?? [];
  if (own.length !== 1) return own.length > 1 ? 'variable' : operand.startsWith('%r') ? 'loaded' : operand;
  const [{ op, sources }] = own;
  if (op.startsWith('ld.param')) return sources[0].replace(/^\[\w+_param_/, '[');
  if (depth > 4) return '…';
  const forms = sources.map((s) => formOf(s, all, depth + 1));
  return op.startsWith('mov') ? forms[0] : `${op.replace(/\..*/, '')}(${forms.join(', ')})`;
}

/** Whether a factor is a quotient by the other one: their product is at most what was divided. */
const isMultiple = (a: string, b: string, all: ReadonlyMap<string, Definition[]>): boolean => {
  const [{ op, sources }, ...others] = all.get(a) ?? [{ op: '', sources: [] }];
  return others.length === 0 && op.startsWith('div') && sources[1] === b;
};

/** By entry the products' forms, both factors of which are no constants and neither is a quotient by the other. */
export function narrowProducts(ptx: string): Map<string, Set<string>> {
  const entries = ptx.split(/^\.visible \.entry /m).slice(1);
  return new Map(entries.map((body) => [body.slice(0, body.indexOf('(')), productsOf(body)]));
}

function productsOf(body: string): Set<string> {
  const lines = body.split('\n').map((line) => line.trim());
  const all = definitions(lines);
  const found = new Set<string>();
  const seen = new Set<string>();
  const walk = (register: string, widened: boolean): void => {
    const key = `${register} ${widened}`;
    if (seen.has(key)) return;
    seen.add(key);
    for (const { op, sources } of all.get(register) ?? []) {
      const wide = widened || WIDENING.test(op);
      const [a, b] = sources;
      const isProduct = /^m(ul|ad)\.lo\.[su]32/.test(op) && a.startsWith('%') && b.startsWith('%');
      if (wide && isProduct && !isMultiple(a, b, all) && !isMultiple(b, a, all)) {
        found.add(`${formOf(a, all)} × ${formOf(b, all)}`);
      }
      for (const r of sources.flatMap(registers)) walk(r, wide);
    }
  };
  for (const line of lines) {
    const [used = ''] = ACCESS.exec(line) ?? BOUND.exec(line) ?? [];
    for (const r of used.match(/%rd\d+/g) ?? []) walk(r, false);
  }
  return found;
}
