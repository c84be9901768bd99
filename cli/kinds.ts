import { z } from 'zod';

/** A kind of value: the same reading for a flag's text and for a YAML value. */
export interface Kind<T> {
  schema: z.ZodType<T>;
  /** How help names the value; undefined for a switch. */
  argument?: string;
  /** Completes 'expected …'. */
  expected: string;
}

const fromText = (read: (text: string) => unknown) => (value: unknown) =>
  typeof value === 'string' && value.trim() !== '' ? read(value.trim()) : value;

export const text = (argument: string): Kind<string> => ({ schema: z.string(), argument, expected: 'a text' });

export const path = (argument = 'PATH'): Kind<string> => ({
  schema: z.string().min(1),
  argument,
  expected: 'a path',
});

export const flag: Kind<boolean> = { schema: z.boolean(), expected: 'true or false' };

export const integer = (min: number): Kind<number> => ({
  schema: z.preprocess(fromText(Number), z.int().min(min)),
  argument: 'N',
  expected: `a whole number, at least ${min}`,
});

export const positive: Kind<number> = {
  schema: z.preprocess(fromText(Number), z.number().positive()),
  argument: 'X',
  expected: 'a number above 0',
};

export const nonNegative: Kind<number> = {
  schema: z.preprocess(fromText(Number), z.number().min(0)),
  argument: 'X',
  expected: 'a number, at least 0',
};

/** In (0, 1]. */
export const share: Kind<number> = {
  schema: z.preprocess(fromText(Number), z.number().positive().max(1)),
  argument: 'P',
  expected: 'a number above 0, at most 1',
};

/** In [0, 1). */
export const probability: Kind<number> = {
  schema: z.preprocess(fromText(Number), z.number().min(0).lt(1)),
  argument: 'P',
  expected: 'a number from 0 to below 1',
};

export const choice = <const V extends string>(...values: V[]): Kind<V> => ({
  // YAML reads `true` as a boolean where it is one of the words.
  schema: z.preprocess((value) => (typeof value === 'boolean' ? String(value) : value), z.enum(values)),
  argument: values.join('|'),
  expected: `one of ${values.join(', ')}`,
});

export const computes = ['float32', 'bfloat16', 'int16'] as const;
export type Compute = (typeof computes)[number];

export type DeviceName = 'auto' | 'cuda' | `cuda:${number}` | 'cuda-sim' | 'wasm' | 'reference';

/** `cuda:N` is GPU N of those that the driver shows; `cuda-sim`, for tests, runs its kernels on the CPU. */
export const device: Kind<DeviceName> = {
  schema: z.custom<DeviceName>((v) => typeof v === 'string' && /^(auto|cuda(:\d+)?|cuda-sim|wasm|reference)$/.test(v)),
  argument: 'auto|cuda|cuda:N|wasm|reference',
  expected: 'one of auto, cuda, cuda:N, wasm, reference',
};

const split = (value: string): string[] => value.split(',').map((part) => part.trim());

export const list = (argument: string): Kind<string[]> => ({
  schema: z.preprocess(fromText(split), z.array(z.coerce.string().min(1)).min(1)),
  argument,
  expected: 'names, separated by commas',
});

/** Half-open rows `a:b`; either end may be left out. */
export const range: Kind<string> = {
  schema: z.string().regex(/^\d*:\d*$/),
  argument: 'A:B',
  expected: 'rows A:B, from row A (counted from 0) to before row B',
};

/** A whole number or a word that stands for one. */
export const integerOr = <const W extends string>(word: W, min = 1): Kind<number | W> => ({
  schema: z.union([z.literal(word), integer(min).schema]),
  argument: `N|${word}`,
  expected: `a whole number, at least ${min}, or '${word}'`,
});

/** A file, or the fraction of the training rows that is held out. */
export const fileOrFraction: Kind<string | number> = {
  schema: z.preprocess(
    fromText((value) => (Number.isNaN(Number(value)) ? value : Number(value))),
    z.union([z.string().min(1), z.number().gt(0).lt(1)]),
  ),
  argument: 'FILE|FRACTION',
  expected: 'a file, or a fraction between 0 and 1',
};

/** Module names; `all-linear`; or, where it is more than names, a regular expression for whole paths. */
export const modules: Kind<string | string[]> = {
  schema: z.preprocess(
    fromText((value) => (value === 'all-linear' || !/^[\w.,\s]+$/.test(value) ? value : split(value))),
    z.union([z.string().min(1).refine(isPattern), z.array(z.string().min(1)).min(1)]),
  ),
  argument: 'NAMES',
  expected: "names separated by commas, a regular expression, or 'all-linear'",
};

function isPattern(value: string): boolean {
  try {
    new RegExp(value);
    return true;
  } catch {
    return false;
  }
}
