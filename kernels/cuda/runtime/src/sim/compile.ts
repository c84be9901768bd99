import { analyse } from './analysis.ts';
import { type Block, type Terminator, toBlocks } from './controlFlow.ts';
import { inlineCalls } from './inline.ts';
import { CollectiveEmitter, collectiveOf } from './instructions/collective.ts';
import { laneInstructionOf } from './instructions/table.ts';
import type { Instrumentation } from './instrumentation.ts';
import { LaneEmitter } from './laneEmitter.ts';
import { Layout } from './layout.ts';
import { type Instruction, opcode, type PtxFunction, type PtxModule, type Register, type Variable } from './ptx.ts';
import type { Site } from './report.ts';

/** What a block's function returns instead of the next block's number. */
export const outcomes = { PARK: -1, DIVERGE: -2, EXIT: -3, BARRIER: -4, TABLE: -5 } as const;

/** A kernel as JavaScript. `functions` is the text of one function per block, `(mask, base, w) => next block or outcome`. */
export interface CompiledKernel {
  readonly fn: PtxFunction;
  readonly layout: Layout;
  readonly functions: readonly string[];
  readonly sites: readonly Site[];
  /** Classes of the instructions of each block, for the counters. */
  readonly classes: readonly ReadonlyMap<string, number>[];
}

/** Compiles an entry. Throws PtxError naming line and instruction for what the simulator does not know. */
export function compileKernel(
  module: PtxModule,
  entry: PtxFunction,
  globals: ReadonlyMap<Variable, number>,
  checks: Instrumentation,
): CompiledKernel {
  const fn = inlineCalls(module, entry);
  const blocks = toBlocks(fn);
  const newLayout = () => new Layout(fn, module.variables, globals);
  const analysis = analyse(module, fn, blocks, newLayout(), checks);
  const layout = newLayout();
  const tracked = checks.uninitialised ? analysis.unassigned : new Set<Register>();
  const sites: Site[] = [];
  const siteOf = new Map<Instruction, number>();
  const site = (instruction: Instruction): number => {
    let number = siteOf.get(instruction);
    if (number === undefined) {
      number = sites.length;
      sites.push({ line: instruction.line, source: instruction.source, instruction: opcode(instruction) });
      siteOf.set(instruction, number);
    }
    return number;
  };

  const bodies = blocks.map((block, index) => {
    const lines: string[] = [];
    if (checks.counters) lines.push(`COUNT[${2 * index}]++; COUNT[${2 * index + 1}] += popc(mask);`);
    if (block.collective !== undefined) {
      const instruction = block.collective;
      const c = new CollectiveEmitter(instruction, layout, () => site(instruction));
      collectiveOf(instruction)!(c, instruction);
      for (const register of analysis.collectiveReads[index]) {
        if (!tracked.has(register)) continue;
        const name = JSON.stringify(register.name);
        const assigned = `I[base + ${layout.definedMask(register)}]`;
        const missing = `(${c.lanes}) & ~${assigned}`;
        lines.push(`unassignedLanes(${site(instruction)}, w, ${missing}, ${name});`);
      }
      lines.push(...c.code);
      for (const register of c.defs) {
        if (tracked.has(register)) lines.push(`I[base + ${layout.definedMask(register)}] |= mask;`);
      }
    }
    const e = new LaneEmitter(layout, checks, tracked, analysis.floats, site);
    for (const instruction of block.lanes) {
      e.begin(instruction);
      laneInstructionOf(instruction)(e, instruction);
      e.end();
    }
    return [...lines, ...e.finish(analysis.liveAfter[index])];
  });
  const joined = joinedBlocks(blocks, bodies);
  const functions = blocks.map((_, index) => {
    const lines: string[] = [];
    let last = index;
    if (!joined[index]) {
      for (; joined[last + 1]; last++) lines.push('{', ...bodies[last], '}', `if (mask !== -1) return ${last + 1};`);
    }
    lines.push(...bodies[last], ...terminate(blocks[last].end, last + 1, layout, site));
    return `function block${index}(mask, base, w) {\n${lines.join('\n')}\n}`;
  });
  const classes = blocks.map((block) => {
    const counts = new Map<string, number>();
    const all = [...block.lanes];
    if (block.collective !== undefined) all.push(block.collective);
    if (block.end.kind !== 'next' && block.end.kind !== 'barrier') all.push(block.end.instruction);
    for (const instruction of all) {
      const name = instructionClass(instruction);
      counts.set(name, (counts.get(name) ?? 0) + 1);
    }
    return counts;
  });
  return { fn, layout, functions, sites, classes };
}

/** Statements that blocks are joined up to: V8 does not optimise functions beyond a certain size. */
const longestFunction = 500;

/**
 * Which blocks a function that begins before them goes on with, if all lanes of the warp are here: those that nothing else
 * leads to. A whole warp never waits in front of a collective instruction that all of its lanes execute.
 */
function joinedBlocks(blocks: readonly Block[], bodies: readonly string[][]): boolean[] {
  const predecessors = blocks.map(() => 0);
  for (const { successors } of blocks) for (const s of successors) predecessors[s]++;
  let length = 0;
  return blocks.map(({ collective }, index) => {
    const follows = index > 0 && blocks[index - 1].end.kind === 'next' && predecessors[index] === 1;
    const joins = follows && collective?.guard === undefined && length + bodies[index].length <= longestFunction;
    length = bodies[index].length + (joins ? length : 0);
    return joins;
  });
}

function terminate(end: Terminator, next: number, layout: Layout, site: (i: Instruction) => number): string[] {
  if (end.kind === 'next') return [`return ${next};`];
  if (end.kind === 'barrier') return [`CTL[2] = ${next};`, `return lanes === 0 ? ${next} : BARRIER;`];
  const { guard } = end.instruction;
  const row = guard === undefined ? '' : `I[base + ${layout.row(guard.register)}]`;
  const taken = guard === undefined ? 'mask' : guard.negated ? `mask & ~${row}` : `mask & ${row}`;
  if (end.kind === 'branch') {
    if (guard === undefined) return [`return ${end.target};`];
    return [
      `const taken = ${taken};`,
      `if (taken === mask) return ${end.target};`,
      `if (taken === 0) return ${next};`,
      `CTL[0] = ${end.target}; CTL[1] = taken; CTL[2] = ${next};`,
      'return DIVERGE;',
    ];
  }
  const lines = [`const taken = ${taken};`];
  if (guard !== undefined) lines.push(`if (taken === 0) return ${next};`);
  lines.push(`CTL[1] = taken; CTL[2] = ${next};`);
  if (end.kind === 'exit') return [...lines, 'return EXIT;'];
  if (end.kind === 'trap') return [...lines, `trap(${site(end.instruction)}, w, taken);`];
  if (end.index.kind !== 'register') throw new Error('brx.idx: expected a register');
  const index = layout.row(end.index.register);
  return [
    ...lines,
    `for (let l = 0; l < 32; l++) if ((taken >>> l) & 1) TARGETS[l] = [${end.targets}][I[base + ${index} + l]] ?? badTarget(${site(end.instruction)}, w, l);`,
    'return TABLE;',
  ];
}

const memoryClasses: Record<string, string> = { ld: 'load', st: 'store', atom: 'atomic', red: 'atomic' };

/** Class that an instruction is counted under. */
function instructionClass({ name, modifiers }: Instruction): string {
  if (name in memoryClasses)
    return `${memoryClasses[name]}.${modifiers.find((m) => /^(global|shared|local|param|const)/.test(m)) ?? 'generic'}`;
  if (['bra', 'brx', 'ret', 'exit', 'trap'].includes(name)) return 'control';
  if (name === 'bar' || name === 'barrier') return 'barrier';
  if (['shfl', 'vote', 'match', 'redux', 'activemask'].includes(name)) return 'warp';
  if (name === 'cp') return 'copy.async';
  if (name === 'mma' || name === 'ldmatrix' || name === 'mov' || name === 'cvt') return name;
  if (modifiers.some((m) => /^(f16|bf16)/.test(m))) return 'half';
  if (modifiers.includes('f32')) return 'f32';
  return modifiers.includes('f64') ? 'f64' : 'integer';
}
