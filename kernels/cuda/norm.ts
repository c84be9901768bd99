import { computeTypes, each, type Family, rowwise } from './table.ts';

const ops = ['rmsNorm', 'rmsNormGradInput', 'layerNorm', 'layerNormGradInput'];

export const norm: Family = each(ops, computeTypes, rowwise);
