import type { Layout } from '../layout.ts';
import { matrixShapes } from '../mma.ts';
import { Modifiers } from '../modifiers.ts';
import { type Instruction, type Operand, opcode, PtxError, type Register } from '../ptx.ts';

/**
 * Writes a warp-wide instruction: one helper call that works on rows of the register file. It stands first in its block, so
 * that the warp can wait in front of it until the lanes it names have arrived.
 */
export class CollectiveEmitter {
  readonly instruction: Instruction;
  readonly layout: Layout;
  readonly site: () => number;
  readonly uses = new Set<Register>();
  readonly defs = new Set<Register>();
  readonly code: string[] = [];

  constructor(instruction: Instruction, layout: Layout, site: () => number) {
    this.instruction = instruction;
    this.layout = layout;
    this.site = site;
  }

  error(message: string): PtxError {
    return new PtxError(this.instruction.line, `${opcode(this.instruction)}: ${message}`);
  }

  /** Lanes that execute: those active whose guard holds. */
  get lanes(): string {
    const { guard } = this.instruction;
    if (guard === undefined) return 'mask';
    this.uses.add(guard.register);
    const row = `I[base + ${this.layout.row(guard.register)}]`;
    return guard.negated ? `mask & ~${row}` : `mask & ${row}`;
  }

  #register(operand: Operand, set: Set<Register>): Register {
    if (operand.kind !== 'register') throw this.error(`expected a register, found a ${operand.kind} operand`);
    set.add(operand.register);
    return operand.register;
  }

  /** Index of the row of a register that is read. */
  source(operand: Operand): string {
    return `base + ${this.layout.row(this.#register(operand, this.uses))}`;
  }

  /** Rows of the registers of a vector, relative to the warp's; −1 for a sink. */
  rows(operand: Operand, count: number, write: boolean): number[] {
    if (operand.kind !== 'vector' || operand.elements.length !== count) {
      throw this.error(`expected a vector of ${count} registers`);
    }
    return operand.elements.map((element) => {
      if (write && element.kind === 'sink') return -1;
      const register = this.#register(element, write ? this.defs : this.uses);
      if (write) this.uses.add(register);
      return this.layout.row(register);
    });
  }

  /** Index of the row of a register that is written; −1 for the sink. */
  destination(operand: Operand): string {
    if (operand.kind === 'sink') return '-1';
    const register = this.#register(operand, this.defs);
    // Lanes that are not active keep their value.
    this.uses.add(register);
    return `base + ${this.layout.row(register)}`;
  }

  /** `row, constant`: the row of a register, or −1 and an immediate. */
  value(operand: Operand): string {
    if (operand.kind === 'integer') return `-1, ${BigInt.asIntN(32, operand.value)}`;
    return `${this.source(operand)}, 0`;
  }

  /** An address as LaneAddresses.read takes it. */
  address(operand: Operand): string {
    if (operand.kind !== 'address') throw this.error('expected an address');
    const { base, offset } = operand;
    if (base?.kind === 'variable') {
      const place = this.layout.place(base.variable, this.instruction.line) + base.offset + offset;
      const global = base.variable.space === 'global' || base.variable.space === 'const';
      return `0, 0, ${place | 0}, ${global ? 'GLOBAL' : 0}`;
    }
    const constant = `${offset | 0}, ${Math.floor(offset / 2 ** 32)}`;
    if (base === undefined) return `0, 0, ${constant}`;
    const row = this.source(base);
    return (base as Operand & { kind: 'register' }).register.bits === 64
      ? `${row}, 2, ${constant}`
      : `${row}, 1, ${offset | 0}, 0`;
  }

  /** Mask of lanes in which a predicate operand holds. */
  predicate(operand: Operand): string {
    if (operand.kind === 'not') return `~${this.predicate(operand.operand)}`;
    if (operand.kind === 'integer') return operand.value === 0n ? '0' : '-1';
    return `I[${this.source(operand)}]`;
  }

  line(text: string): void {
    this.code.push(text);
  }

  /** Waits until the lanes of a member mask are here: the warp parks and comes back. */
  gather(members: Operand): void {
    this.line(`const lanes = ${this.lanes};`);
    this.line(`if (lanes !== 0 && gather(${this.site()}, w, lanes, mask, ${this.value(members)})) return PARK;`);
  }

  /** The same for `.aligned` instructions, which all lanes of the warp execute, and for others that all of them come to. */
  gatherAll(aligned = true): void {
    this.line(`const lanes = ${this.lanes};`);
    this.line(`if (gatherAll(${this.site()}, w, lanes, ${aligned})) return PARK;`);
  }
}

type CollectiveInstruction = (c: CollectiveEmitter, i: Instruction) => void;

const shuffle: CollectiveInstruction = (c, i) => {
  const m = new Modifiers(i);
  m.need('sync');
  const mode = m.need('up', 'down', 'bfly', 'idx');
  m.need('b32');
  m.end();
  const [dp, a, b, clamp, members] = i.operands;
  const [d, p] = dp.kind === 'pair' ? [dp.first, dp.second] : [dp, undefined];
  c.gather(members);
  const source = a.kind === 'integer' ? c.value(a) : `${c.source(a)}, 0`;
  c.line(
    `shuffle('${mode}', ${c.site()}, w, lanes, ${c.destination(d)}, ${p === undefined ? '-1' : c.destination(p)}, ${source}, ${c.value(b)}, ${c.value(clamp)});`,
  );
};

const vote: CollectiveInstruction = (c, i) => {
  const m = new Modifiers(i);
  m.need('sync');
  const mode = m.need('all', 'any', 'uni', 'ballot');
  m.need(mode === 'ballot' ? 'b32' : 'pred');
  m.end();
  const [d, p, members] = i.operands;
  c.gather(members);
  c.line(`vote('${mode}', lanes, ${c.destination(d)}, ${c.predicate(p)});`);
};

const match: CollectiveInstruction = (c, i) => {
  const m = new Modifiers(i);
  const mode = m.need('any', 'all');
  m.need('sync');
  const type = m.need('b32', 'b64');
  m.end();
  const [dp, a, members] = i.operands;
  const [d, p] = dp.kind === 'pair' ? [dp.first, dp.second] : [dp, undefined];
  if (p !== undefined && mode === 'any') throw c.error('only .all has a predicate');
  c.gather(members);
  c.line(
    `match('${mode}', lanes, ${c.destination(d)}, ${p === undefined ? '-1' : c.destination(p)}, ${c.source(a)}, ${type === 'b64'});`,
  );
};

const reduce: CollectiveInstruction = (c, i) => {
  const m = new Modifiers(i);
  m.need('sync');
  const operation = m.need('add', 'min', 'max', 'and', 'or', 'xor');
  const type = m.need('u32', 's32', 'b32');
  m.end();
  const [d, a, members] = i.operands;
  c.gather(members);
  c.line(`redux('${operation}', lanes, ${c.destination(d)}, ${c.source(a)}, ${type === 's32'});`);
};

const activeMask: CollectiveInstruction = (c, i) => {
  const m = new Modifiers(i);
  m.need('b32');
  m.end();
  c.line(`fillRow(${c.lanes}, ${c.destination(i.operands[0])}, mask);`);
};

// bar.warp.sync, and the block barriers bar/barrier .sync .arrive .red.
const barrier: CollectiveInstruction = (c, i) => {
  const m = new Modifiers(i);
  m.take('cta');
  if (m.flag('warp')) {
    m.need('sync');
    m.end();
    c.gather(i.operands[0]);
    return c.line('if (lanes !== 0) syncWarp(w);');
  }
  const kind = m.need('sync', 'arrive', 'red');
  // bar is barrier.aligned.
  const aligned = m.flag('aligned') || i.name === 'bar';
  const operation = kind === 'red' ? m.need('popc', 'and', 'or') : '';
  if (kind === 'red') m.need(operation === 'popc' ? 'u32' : 'pred');
  m.end();
  const operands = [...i.operands];
  const result = kind === 'red' ? operands.shift() : undefined;
  const predicate = kind === 'red' ? operands.pop() : undefined;
  const [id, count] = operands;
  c.gatherAll(aligned);
  const target = result === undefined ? '-1' : c.destination(result);
  const votes = predicate === undefined ? '0' : c.predicate(predicate);
  const threads = count === undefined ? '-1, -1' : c.value(count);
  c.line(
    `barrier(${c.site()}, '${kind}', ${aligned}, '${operation}', w, lanes, ${c.value(id)}, ${threads}, ${target}, ${votes});`,
  );
};

const copySizes = [4, 8, 16];

// cp.async{.ca|.cg}.shared.global [dst], [src], bytes{, src-bytes}: the copy is only recorded; a wait makes it.
const asyncCopy: CollectiveInstruction = (c, i) => {
  const m = new Modifiers(i);
  m.need('async');
  const cache = m.need('ca', 'cg');
  m.need('shared', 'shared::cta');
  m.need('global');
  m.take('L2::64B', 'L2::128B', 'L2::256B');
  m.end();
  const [d, s, size, sourceSize] = i.operands;
  const bytes = size?.kind === 'integer' ? Number(size.value) : 0;
  if (!copySizes.includes(bytes) || (cache === 'cg' && bytes !== 16))
    throw c.error(`.${cache} does not copy ${bytes} bytes`);
  const ignore = sourceSize?.kind === 'register' && sourceSize.register.bits === 1;
  const valid = sourceSize === undefined || ignore ? `-1, ${bytes}` : c.value(sourceSize);
  const ignored = ignore ? c.predicate(sourceSize) : '0';
  c.line(`copyAsync(${c.site()}, w, ${c.lanes}, ${c.address(d)}, ${c.address(s)}, ${bytes}, ${valid}, ${ignored});`);
};

// Its commits and waits.
const asyncGroup: CollectiveInstruction = (c, i) => {
  const m = new Modifiers(i);
  m.need('async');
  const kind = m.need('commit_group', 'wait_group', 'wait_all');
  m.end();
  const [count] = i.operands;
  if (kind === 'wait_group' && count?.kind !== 'integer') throw c.error('expected an immediate');
  if (kind === 'commit_group') c.line(`asyncCommit(w, ${c.lanes});`);
  else
    c.line(
      `asyncWait(${c.site()}, w, ${c.lanes}, ${kind === 'wait_all' ? -1 : (count as Operand & { kind: 'integer' }).value});`,
    );
};

const loadMatrix: CollectiveInstruction = (c, i) => {
  const m = new Modifiers(i);
  m.need('sync');
  m.need('aligned');
  m.need('m8n8');
  const count = Number(m.need('x1', 'x2', 'x4')[1]);
  const transposed = m.flag('trans');
  m.take('shared', 'shared::cta');
  m.need('b16');
  m.end();
  const [d, a] = i.operands;
  c.gatherAll();
  c.line(`loadMatrix(${c.site()}, w, ${c.address(a)}, ${transposed}, base, [${c.rows(d, count, true)}]);`);
};

const multiplyMatrix: CollectiveInstruction = (c, i) => {
  const m = new Modifiers(i);
  m.need('sync');
  m.need('aligned');
  const shape = m.need('m16n8k16', 'm16n8k8', 'm16n8k4');
  m.need('row');
  m.need('col');
  const dType = m.next('f32', 'f16');
  const type = m.next('f16', 'bf16', 'tf32');
  if (m.next('f16', 'bf16', 'tf32') !== type) throw c.error('A and B must have one type');
  const cType = m.next('f32', 'f16');
  m.end();
  const plan = matrixShapes.find((known) => known.type === type && `m16n8k${known.k}` === shape);
  if (plan === undefined) throw c.error(`.${shape} does not take .${type}`);
  if (dType !== cType || (dType === 'f16' && type !== 'f16'))
    throw c.error('this combination of accumulator types is not supported');
  const [d, a, b, addend] = i.operands;
  const accumulators = dType === 'f32' ? 4 : 2;
  c.gatherAll();
  for (const accumulator of [d, addend]) {
    if (accumulator.kind === 'vector' && accumulator.elements.some((element) => element.kind !== 'register'))
      throw c.error('accumulators must be registers');
  }
  const bytes = (rows: readonly number[]) => rows.map((row) => `file + ${4 * row}`).join(', ');
  const operands = bytes([...c.rows(a, plan.a, false), ...c.rows(b, plan.b, false)]);
  const rowsC = bytes(c.rows(addend, accumulators, false));
  const rowsD = bytes(c.rows(d, accumulators, true));
  c.line('const file = 4 * base;');
  if (dType === 'f32') c.line(`mma_${type}_${plan.k}(${operands}, ${rowsC}, ${rowsD});`);
  else c.line(`mmaHalf(${plan.k}, [${operands}], [${rowsC}], [${rowsD}]);`);
};

/** @internal for tests */
export const collectives: Record<string, CollectiveInstruction> = {
  shfl: shuffle,
  vote,
  match,
  redux: reduce,
  activemask: activeMask,
  bar: barrier,
  barrier,
  cp: (c, i) => (i.modifiers.includes('ca') || i.modifiers.includes('cg') ? asyncCopy : asyncGroup)(c, i),
  ldmatrix: loadMatrix,
  mma: multiplyMatrix,
};

/** The collective form of an instruction, undefined if it runs lane by lane. */
export function collectiveOf(i: Instruction): CollectiveInstruction | undefined {
  return collectives[i.name];
}
