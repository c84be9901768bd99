import { broadcast, ceilDiv, computeTypes, each, type Family, single, threads } from './table.ts';

/** 16 bytes a thread. */
const flat = single((name, { work }) => threads(name, ceilDiv(work[0], name.endsWith('_bf16') ? 8 : 4)));

const unary = ['neg', 'abs', 'exp', 'log', 'sqrt', 'rsqrt', 'tanh', 'sigmoid', 'silu', 'relu', 'normalCdf', 'gelu'];
const binary = ['add', 'sub', 'mul', 'div', 'pow', 'eq', 'ne', 'lt', 'le', 'gt', 'ge'];

export const elementwise: Family = {
  ...each([...unary, 'clamp', 'fill', 'accumulate'], computeTypes, flat),
  ...each(binary, computeTypes, broadcast(4)),
  ...each(['where'], computeTypes, broadcast(1)),
};
