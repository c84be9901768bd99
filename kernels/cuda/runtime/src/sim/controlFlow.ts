import { collectiveOf } from './instructions/collective.ts';
import { type Instruction, type Operand, PtxError, type PtxFunction } from './ptx.ts';

/** How a block ends. Targets are block numbers. */
export type Terminator =
  | { readonly kind: 'next' }
  | { readonly kind: 'branch'; readonly target: number; readonly instruction: Instruction }
  | {
      readonly kind: 'table';
      readonly index: Operand;
      readonly targets: readonly number[];
      readonly instruction: Instruction;
    }
  | { readonly kind: 'exit'; readonly instruction: Instruction }
  | { readonly kind: 'trap'; readonly instruction: Instruction }
  | { readonly kind: 'barrier'; readonly instruction: Instruction };

/**
 * A straight run of instructions. A collective one can only stand first. Blocks are numbered in the order of the text, which
 * is the order in which diverged lanes take turns (lowest first).
 */
export interface Block {
  readonly collective: Instruction | undefined;
  readonly lanes: readonly Instruction[];
  readonly end: Terminator;
  readonly successors: readonly number[];
}

/** Longer runs are cut: V8 does not optimise functions beyond a certain size. */
const longestRun = 160;

const isBlockBarrier = (i: Instruction) => (i.name === 'bar' || i.name === 'barrier') && !i.modifiers.includes('warp');

/** Cuts a function without calls into blocks. Throws PtxError for a branch to nowhere. */
export function toBlocks(fn: PtxFunction): Block[] {
  const body = fn.body!;
  const targets = new Set<number>();
  const indexOf = (name: string, line: number): number => {
    const index = fn.labels.get(name);
    if (index === undefined) throw new PtxError(line, `unknown label ${name}`);
    return index;
  };
  const tableOf = (i: Instruction): readonly string[] => {
    const operand = i.operands[1];
    const table = operand?.kind === 'label' ? fn.branchTargets.get(operand.name) : undefined;
    if (table === undefined) throw new PtxError(i.line, 'brx.idx: expected a list of .branchtargets');
    return table;
  };
  for (const i of body) {
    if (i.name === 'bra') {
      const [label] = i.operands;
      if (label?.kind !== 'label') throw new PtxError(i.line, 'bra: expected a label');
      targets.add(indexOf(label.name, i.line));
    } else if (i.name === 'brx') for (const name of tableOf(i)) targets.add(indexOf(name, i.line));
  }
  interface Draft {
    start: number;
    collective: Instruction | undefined;
    lanes: Instruction[];
    end: Instruction | undefined;
  }
  const drafts: Draft[] = [];
  const blockAt = new Map<number, number>();
  let open: Draft | undefined;
  const start = (index: number, collective?: Instruction): Draft => {
    open = { start: index, collective, lanes: [], end: undefined };
    blockAt.set(index, drafts.length);
    drafts.push(open);
    return open;
  };
  for (const [index, i] of body.entries()) {
    if (targets.has(index)) open = undefined;
    if (['bra', 'brx', 'ret', 'exit', 'trap'].includes(i.name)) {
      (open ?? start(index)).end = i;
      open = undefined;
    } else if (collectiveOf(i) !== undefined) {
      start(index, i);
      // What follows a barrier runs only when the block has passed it.
      if (isBlockBarrier(i)) open = undefined;
    } else {
      if (open !== undefined && open.lanes.length >= longestRun) open = undefined;
      (open ?? start(index)).lanes.push(i);
    }
  }
  // A label at the very end, or a body that does not end in ret.
  const last = drafts.length;
  blockAt.set(body.length, last);
  const exit: Instruction = {
    name: 'ret',
    modifiers: [],
    guard: undefined,
    operands: [],
    line: fn.line,
    source: undefined,
  };
  drafts.push({ start: body.length, collective: undefined, lanes: [], end: exit });

  const blockOf = (label: string, line: number) => blockAt.get(indexOf(label, line))!;
  return drafts.map((draft, index): Block => {
    const { collective, lanes } = draft;
    const end = terminator(draft);
    const next = index + 1;
    let successors: number[];
    if (end.kind === 'branch') successors = end.instruction.guard === undefined ? [end.target] : [end.target, next];
    else if (end.kind === 'table')
      successors = end.instruction.guard === undefined ? [...end.targets] : [...end.targets, next];
    else if (end.kind === 'exit' || end.kind === 'trap') successors = end.instruction.guard === undefined ? [] : [next];
    else successors = [next];
    return { collective, lanes, end, successors };
  });

  function terminator({ collective, end }: Draft): Terminator {
    if (end === undefined) {
      return collective !== undefined && isBlockBarrier(collective)
        ? { kind: 'barrier', instruction: collective }
        : { kind: 'next' };
    }
    if (end.name === 'bra') {
      return {
        kind: 'branch',
        target: blockOf((end.operands[0] as { name: string }).name, end.line),
        instruction: end,
      };
    }
    if (end.name === 'brx') {
      return {
        kind: 'table',
        index: end.operands[0],
        targets: tableOf(end).map((name) => blockOf(name, end.line)),
        instruction: end,
      };
    }
    return { kind: end.name === 'trap' ? 'trap' : 'exit', instruction: end };
  }
}
