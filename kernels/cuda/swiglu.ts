import { computeTypes, each, type Family, flat } from './table.ts';

export const swiglu: Family = each(['swiglu', 'swigluGrad'], computeTypes, flat);
