/** Lanes of a warp that stand at the same block. */
export interface Split {
  pc: number;
  mask: number;
  /** Waits in front of a collective instruction for lanes that have not come. */
  parked: boolean;
}

/** Lanes that came to a barrier together: what they vote, and the row that gets the result (−1: none). */
interface Arrival {
  readonly lanes: number;
  readonly votes: number;
  readonly target: number;
}

/** A warp of the running block. */
export interface Warp {
  readonly all: number;
  live: number;
  readonly splits: Split[];
  /** Lanes that came to a barrier without `.aligned` alone, and wait there for the rest of the warp. */
  readonly held: Split[];
  state: 'ready' | 'waiting' | 'done';
  /** The barrier instruction that it executed last. */
  site: number;
  lanes: number;
  aligned: boolean;
  kind: string;
  operation: string;
  id: number;
  expected: number;
  target: number;
  votes: number;
  /** The lanes that came to that barrier before these. */
  readonly earlier: Arrival[];
}

/** A warp of `lanes` threads at the kernel's start. */
export function newWarp(lanes: number): Warp {
  const all = lanes === 32 ? -1 : (1 << lanes) - 1;
  return {
    all,
    live: all,
    splits: [{ pc: 0, mask: all, parked: false }],
    held: [],
    state: 'ready',
    site: 0,
    lanes: 0,
    aligned: true,
    kind: '',
    operation: '',
    id: 0,
    expected: 0,
    target: 0,
    votes: 0,
    earlier: [],
  };
}

/** Number of lanes in a mask. */
export const bitCount = (mask: number): number => {
  let n = 0;
  for (let m = mask; m !== 0; m &= m - 1) n++;
  return n;
};
/** A mask in words. */
export const laneList = (mask: number): string => {
  const lanes: number[] = [];
  for (let l = 0; l < 32; l++) if ((mask >>> l) & 1) lanes.push(l);
  return lanes.length === 1 ? `lane ${lanes[0]}` : `lanes ${lanes.join(',')}`;
};
