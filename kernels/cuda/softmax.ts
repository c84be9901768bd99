import { computeTypes, each, type Family, rowwise } from './table.ts';

export const softmax: Family = each(['max', 'min', 'argmax', 'softmax', 'logSoftmax'], computeTypes, rowwise);
