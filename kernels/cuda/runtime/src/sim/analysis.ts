import type { Block } from './controlFlow.ts';
import { CollectiveEmitter, collectiveOf } from './instructions/collective.ts';
import { checkForm, checkOperands } from './instructions/forms.ts';
import { laneInstructionOf } from './instructions/table.ts';
import type { Instrumentation } from './instrumentation.ts';
import { LaneEmitter } from './laneEmitter.ts';
import type { Layout } from './layout.ts';
import type { Instruction, PtxFunction, PtxModule, Register } from './ptx.ts';

/** What one instruction does to registers. */
interface Effect {
  /** Values needed, those that a partial write keeps included. */
  readonly uses: readonly Register[];
  /** Values that the program reads. */
  readonly reads: readonly Register[];
  readonly defs: readonly Register[];
  /** Writes all of its destinations in every active lane. */
  readonly total: boolean;
}

interface Analysis {
  /** Registers live after a block's run: at its end or in its terminator. */
  readonly liveAfter: readonly ReadonlySet<Register>[];
  /** Registers that some path reads before it assigns them. */
  readonly unassigned: ReadonlySet<Register>;
  /** Registers that each block's collective instruction reads. */
  readonly collectiveReads: readonly (readonly Register[])[];
  /** Registers that take part in floating-point arithmetic. */
  readonly floats: Set<Register>;
}

class Bits {
  readonly words: Uint32Array;

  constructor(size: number, full = false) {
    this.words = new Uint32Array(Math.ceil(size / 32)).fill(full ? 0xffffffff : 0);
  }
  has(i: number): boolean {
    return ((this.words[i >> 5] >>> (i & 31)) & 1) === 1;
  }
  add(i: number): void {
    this.words[i >> 5] |= 1 << (i & 31);
  }
  delete(i: number): void {
    this.words[i >> 5] &= ~(1 << (i & 31));
  }
  copy(): Bits {
    const copy = new Bits(0);
    return Object.assign(copy, { words: this.words.slice() });
  }
  /** this = f(this, other) by words; true if it changed. */
  merge(other: Bits, f: (a: number, b: number) => number): boolean {
    let changed = false;
    for (const [k, word] of this.words.entries()) {
      const merged = f(word, other.words[k]) >>> 0;
      if (merged !== word) changed = true;
      this.words[k] = merged;
    }
    return changed;
  }
}

/**
 * Liveness and definite assignment of registers, from what the instructions' own emitters read and write: every instruction
 * is emitted once for its effects alone. Throws PtxError for what the simulator does not know and `module` may not use.
 */
export function analyse(
  module: PtxModule,
  fn: PtxFunction,
  blocks: readonly Block[],
  layout: Layout,
  checks: Instrumentation,
): Analysis {
  const floats = new Set<Register>();
  const none: ReadonlySet<Register> = new Set();
  const guardOf = (i: Instruction) => (i.guard === undefined ? [] : [i.guard.register]);

  const laneEffect = (i: Instruction): Effect => {
    const e = new LaneEmitter(layout, checks, none, floats, () => 0);
    const instruction = laneInstructionOf(i);
    checkOperands(i);
    e.begin(i);
    // The carry flag lives within a run, which this emission of one instruction alone does not have.
    if (['addc', 'subc', 'madc'].includes(i.name) && i.guard === undefined) e.setCarry('false');
    instruction(e, i);
    checkForm(i, module);
    return { uses: [...e.uses], reads: [...e.reads], defs: [...e.defs], total: i.guard === undefined };
  };
  const collectiveEffect = (i: Instruction): Effect => {
    checkOperands(i);
    const c = new CollectiveEmitter(i, layout, () => 0);
    collectiveOf(i)!(c, i);
    checkForm(i, module);
    const written = new Set(c.defs);
    const reads = [...c.uses].filter((register) => !written.has(register) || readsToo(i, register));
    return { uses: [...c.uses, ...guardOf(i)], reads, defs: [...c.defs], total: i.guard === undefined };
  };
  const effects = blocks.map(({ collective, lanes, end }) => {
    const list = lanes.map(laneEffect);
    if (collective !== undefined) list.unshift(collectiveEffect(collective));
    const used: Register[] = [];
    if (end.kind !== 'next' && end.kind !== 'barrier') {
      checkForm(end.instruction, module);
      used.push(...guardOf(end.instruction));
    }
    if (end.kind === 'table' && end.index.kind === 'register') used.push(end.index.register);
    list.push({ uses: used, reads: used, defs: [], total: true });
    return list;
  });

  const size = fn.registers.length;
  const liveIn = blocks.map(() => new Bits(size));
  for (let changed = true; changed; ) {
    changed = false;
    for (let b = blocks.length - 1; b >= 0; b--) {
      const live = new Bits(size);
      for (const s of blocks[b].successors) live.merge(liveIn[s], (x, y) => x | y);
      for (const effect of effects[b].toReversed()) {
        if (effect.total) for (const d of effect.defs) live.delete(d.id);
        for (const u of effect.uses) live.add(u.id);
      }
      if (liveIn[b].merge(live, (x, y) => x | y)) changed = true;
    }
  }
  const liveAfter = blocks.map((block, b) => {
    const live = new Bits(size);
    for (const s of block.successors) live.merge(liveIn[s], (x, y) => x | y);
    for (const u of effects[b].at(-1)!.uses) live.add(u.id);
    return new Set(fn.registers.filter((register) => live.has(register.id)));
  });

  // Assigned on every path to a block's start; all registers until shown otherwise, none at the entry.
  const assignedIn = blocks.map((_, b) => new Bits(size, b !== 0));
  const flow = (b: number, onRead?: (register: Register) => void): Bits => {
    const assigned = assignedIn[b].copy();
    for (const { reads, defs, total } of effects[b]) {
      if (onRead !== undefined) for (const r of reads) if (!assigned.has(r.id)) onRead(r);
      if (total) for (const d of defs) assigned.add(d.id);
    }
    return assigned;
  };
  for (let changed = true; changed; ) {
    changed = false;
    for (const [b, block] of blocks.entries()) {
      const out = flow(b);
      for (const s of block.successors) if (assignedIn[s].merge(out, (x, y) => x & y)) changed = true;
    }
  }
  const unassigned = new Set<Register>();
  for (const b of blocks.keys()) flow(b, (register) => unassigned.add(register));
  const collectiveReads = blocks.map((block, b) => (block.collective === undefined ? [] : effects[b][0].reads));
  return { liveAfter, unassigned, collectiveReads, floats };
}

// Whether a register that an instruction writes is among its sources as well (an mma's accumulators).
function readsToo(i: Instruction, register: Register): boolean {
  return i.operands.slice(1).some(function find(operand): boolean {
    if (operand.kind === 'register') return operand.register === register;
    return operand.kind === 'vector' && operand.elements.some(find);
  });
}
