// Mechanical changes of PTX, each of one instruction, such as a slip of the pen would make in a kernel.

export interface Mutation {
  entry: string;
  /** Of the module's text, from 1. */
  line: number;
  kind: string;
  before: string;
  after: string;
}

/** Which mutation it is, of a file that is built for a target. */
export const keyOf = ({
  target,
  file,
  entry,
  kind,
  before,
  line,
}: Mutation & { target: number; file: string }): string => `sm_${target} ${file} ${entry} ${line} ${kind}: ${before}`;

/** What an instruction is without what a mutation changes about it; undefined where the kind does not apply. */
type Change = (instruction: string, constants: ReadonlyMap<string, string>) => string | undefined;

const replaced =
  (pattern: RegExp, replacement: string | ((...groups: string[]) => string)): Change =>
  (instruction) => {
    const match = pattern.exec(instruction);
    if (!match) return undefined;
    const text = typeof replacement === 'string' ? replacement : replacement(...match.slice(1));
    return instruction.replace(pattern, text);
  };
const dropped = (pattern: RegExp): Change => replaced(pattern, '');
const swapped = (pattern: RegExp, pairs: Record<string, string>): Change =>
  replaced(pattern, (before, word, after) => `${before}${pairs[word]}${after}`);

/** A shuffle's operand `at`, which is a register that holds a constant or that constant. */
const shuffled =
  (at: number, change: (value: number) => number): Change =>
  (instruction, constants) => {
    if (!instruction.startsWith('shfl.sync.bfly')) return undefined;
    const operands = instruction.replace(/;$/, '').split(/,\s*/);
    const value = Number(constants.get(operands[at]) ?? operands[at]);
    if (Number.isNaN(value)) return undefined;
    operands[at] = `${change(value)}`;
    return `${operands.join(', ')};`;
  };

const kinds: Readonly<Record<string, Change>> = {
  'barrier dropped': dropped(/^bar(rier)?\.(sync|warp\.sync|red\..*)\s.*;$/),
  'copy wait dropped': dropped(/^cp\.async\.wait_(group|all).*;$/),
  'copy wait loosened': replaced(/^(cp\.async\.wait_group\s+)(\d+)/, (head, n) => `${head}${Number(n) + 1}`),
  'bound off by one': swapped(/^(setp\.)(lt|le|gt|ge)(\.[su]\d+\s)/, { lt: 'le', le: 'lt', gt: 'ge', ge: 'gt' }),
  'shuffle distance': shuffled(2, (distance) => (distance > 1 ? distance / 2 : 2)),
  'shuffle members': shuffled(4, () => 0xffff),
  'xor changed': replaced(/^xor\.b32\s+(%\w+), (%\w+), .*;$/, 'mov.b32 $1, $2;'),
  'start of a sum': replaced(/^(mov\.[bf]32\s+%\w+, )0f00000000;$/, (head) => `${head}0f3F800000;`),
  'sum dropped': replaced(/^fma\.rn\.f32\s+(%\w+, %\w+, %\w+), %\w+;$/, (operands) => `mul.rn.f32 ${operands};`),
  'max for min': swapped(/^()(max|min)(\.[fs](?:32|64)\s)/, { max: 'min', min: 'max' }),
  'branch inverted': replaced(/^@(!?)(%p\d+ bra)/, (not, rest) => `@${not ? '' : '!'}${rest}`),
  'selection swapped': replaced(/^(selp\.\w+\s+%\w+), ([^,]+), ([^,]+),/, '$1, $3, $2,'),
  'step off by one': replaced(/^(add\.s(?:32|64)\s+%\w+, %\w+, )(-?\d+);/, (head, n) => `${head}${Number(n) + 1};`),
  'sign of a difference': replaced(/^sub\.f32/, 'add.f32'),
  'matrices exchanged': replaced(/^(mma\.sync.*?\}, *)\{([^,]+), ?([^,}]+)/, (head, a, b) => `${head}{${b},${a}`),
  'matrix not transposed': replaced(/^(ldmatrix.*?)\.trans/, '$1'),
};

/** Entries of a module with the lines of their bodies. */
function* bodies(lines: readonly string[]): Generator<{ entry: string; begin: number; end: number }> {
  for (let i = 0; i < lines.length; i++) {
    const entry = /\.entry (\w+)/.exec(lines[i])?.[1];
    if (entry === undefined) continue;
    const begin = lines.indexOf('{', i);
    const end = lines.indexOf('}', i);
    yield { entry, begin, end };
    i = end;
  }
}

/** Every mutation of every instruction of a module. */
export function mutationsOf(ptx: string): Mutation[] {
  const lines = ptx.split('\n');
  const mutations: Mutation[] = [];
  for (const { entry, begin, end } of bodies(lines)) {
    const constants = new Map<string, string>();
    for (let i = begin + 1; i < end; i++) {
      const before = lines[i].trim();
      const constant = /^mov\.[bu]32\s+(%\w+), (-?\d+);$/.exec(before);
      if (constant) constants.set(constant[1], constant[2]);
      for (const [kind, change] of Object.entries(kinds)) {
        const after = change(before, constants);
        if (after !== undefined && after !== before) mutations.push({ entry, line: i + 1, kind, before, after });
      }
    }
  }
  return mutations;
}

/** The module with a mutation, and of its entries only one: others need not be compiled. */
export function mutated(ptx: string, kept: string, mutation?: Mutation): string {
  const lines = ptx.split('\n');
  if (mutation) lines[mutation.line - 1] = mutation.after;
  for (const { entry, begin, end } of bodies(lines)) {
    if (entry !== kept) lines.fill('ret;', begin + 1, begin + 2).fill('', begin + 2, end);
  }
  return lines.join('\n');
}
