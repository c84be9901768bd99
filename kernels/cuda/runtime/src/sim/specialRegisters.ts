import type { Pair } from './registerCache.ts';
import type { RunText } from './runText.ts';

/**
 * Expression of a special register, as 64 bits of which a 32-bit read takes the low ones; undefined if there is none of that
 * name. `U` holds the launch's uniforms (kernel.ts).
 */
export function specialRegister(text: RunText, name: string): Pair | undefined {
  const [, base, axis] = /^%(\w+?)(?:\.([xyz]))?$/.exec(name) ?? [];
  const index = axis === undefined ? 0 : 'xyz'.indexOf(axis);
  if (axis !== undefined) {
    if (base === 'tid') return [text.constant(`I[b + ${32 * index}]`), '0'];
    if (base === 'ntid') return [text.uniform(`U[${index}]`), '0'];
    if (base === 'ctaid') return [text.uniform(`U[${3 + index}]`), '0'];
    if (base === 'nctaid') return [text.uniform(`U[${6 + index}]`), '0'];
  }
  switch (name) {
    case '%laneid':
      return ['l', '0'];
    case '%warpid':
      return ['w', '0'];
    case '%nwarpid':
      return [text.uniform('U[9]'), '0'];
    case '%dynamic_smem_size':
      return [text.uniform('U[10]'), '0'];
    case '%total_smem_size':
      return [text.uniform('U[11]'), '0'];
    case '%smid':
    case '%gridid':
      return ['0', '0'];
    case '%nsmid':
      return ['1', '0'];
    case '%lanemask_eq':
      return ['bit', '0'];
    case '%lanemask_lt':
      return ['(bit - 1)', '0'];
    case '%lanemask_le':
      return ['(bit - 1 | bit)', '0'];
    case '%lanemask_gt':
      return ['~(bit - 1 | bit)', '0'];
    case '%lanemask_ge':
      return ['~(bit - 1)', '0'];
    case '%clock':
    case '%clock64':
    case '%globaltimer':
    case '%globaltimer_lo':
      return [text.temp('clock(U)'), '0'];
    default:
      return undefined;
  }
}
