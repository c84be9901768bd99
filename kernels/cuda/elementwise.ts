import { broadcast, computeTypes, each, type Family, flat } from './table.ts';

const unary = ['neg', 'abs', 'exp', 'log', 'sqrt', 'rsqrt', 'tanh', 'sigmoid', 'silu', 'relu', 'normalCdf', 'gelu'];
const binary = ['add', 'sub', 'mul', 'div', 'pow', 'eq', 'ne', 'lt', 'le', 'gt', 'ge'];

export const elementwise: Family = {
  ...each([...unary, 'clamp', 'fill', 'accumulate'], computeTypes, flat),
  ...each(binary, computeTypes, broadcast(4)),
  ...each(['where'], computeTypes, broadcast(1)),
};
