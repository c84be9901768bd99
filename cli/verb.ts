import type { Given } from './config.ts';
import type { OptionName, Values } from './options.ts';
import type { Output } from './output.ts';

/** What a command finds around it. */
export interface Context {
  out: Output;
  /** Options that flags or the configuration file gave. */
  given: Given;
  /** Operands: what stands on the command line beside flags. */
  operands: string[];
  /** Aborted at the first Ctrl-C; the second ends the process. */
  interrupt: AbortSignal;
}

/** A command of `lorikeet`. */
export interface Verb {
  name: string;
  summary: string;
  /** Added to its help. */
  details?: string;
  /** In commander's notation. */
  operands?: string;
  options: readonly OptionName[];
  run(values: never, context: Context): Promise<void>;
}

/** Declares a command; `run` gets the values of exactly its options. */
export const verb = <const K extends OptionName>(
  definition: Omit<Verb, 'options' | 'run'> & {
    options: readonly K[];
    run(values: Values<K>, context: Context): Promise<void>;
  },
): Verb => definition;
