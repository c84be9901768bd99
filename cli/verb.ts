import { type Given, resolve } from './config.ts';
import { exitCodes } from './exit.ts';
import type { OptionName, Values } from './options.ts';
import type { Output } from './output.ts';

/** What a command finds around it. */
export interface Context {
  out: Output;
  /** Options that flags or the configuration file gave. */
  given: Given;
  /** Operands: what stands on the command line beside flags. */
  operands: string[];
  /**
   * For a command that has something to save: aborted at the first Ctrl-C (or SIGTERM) after it was asked for; the second ends
   * the process. A command that does not ask ends at the first.
   */
  onInterrupt(): AbortSignal;
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

/** Ctrl-C, and what schedulers and containers send some seconds before they kill. */
const signals = ['SIGINT', 'SIGTERM'] as const;

/** Runs a command with the values that were given, and the defaults of its other options. */
export async function runVerb(verb: Verb, given: Given, out: Output, operands: string[] = []): Promise<void> {
  const controller = new AbortController();
  let saves = false;
  const interrupt = (): void => {
    if (!saves || controller.signal.aborted) process.exit(exitCodes.interrupted.code);
    out.line('interrupted: finishing the step and saving; again to leave at once');
    controller.abort();
  };
  const onInterrupt = (): AbortSignal => {
    saves = true;
    return controller.signal;
  };
  for (const signal of signals) process.on(signal, interrupt);
  try {
    await verb.run(resolve(verb.options, given) as never, { out, given, operands, onInterrupt });
  } finally {
    for (const signal of signals) process.off(signal, interrupt);
  }
}
