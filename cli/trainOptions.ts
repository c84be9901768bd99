import { readAdapterSettings } from '../peft/adapter.ts';
import { type TrainOptions, trainDefaults } from '../peft/train.ts';
import { hasInt16 } from './backend.ts';
import { type Given, readConfig, resolve } from './config.ts';
import type { DataSet } from './data.ts';
import { CliError, usageError } from './exit.ts';
import type { DeviceName } from './kinds.ts';
import { common, dataOptions, flagName, type OptionName, promptOptions, type Values } from './options.ts';
import type { Output } from './output.ts';
import type { RunFolder } from './runFolder.ts';
import { recordedOptions, wholePath } from './session.ts';

const methodOptions = {
  lora: ['rank', 'alpha', 'dropout', 'rslora', 'targetModules', 'init'],
  prompt: ['virtualTokens', 'promptInit', 'initText'],
} as const;
const adapterOptions = ['method', 'preset', ...methodOptions.lora, ...methodOptions.prompt] as const;
export const trainNames = [
  ...(['model', 'adapter', 'out', 'val'] as const),
  ...common,
  ...dataOptions,
  ...promptOptions,
  ...adapterOptions,
  ...(['epochs', 'batchSize', 'microBatch', 'lr', 'schedule', 'warmup', 'weightDecay', 'maxGradNorm'] as const),
  ...(['evalEvery', 'saveEvery', 'keep', 'resume', 'recompute', 'sharePrefix', 'profile'] as const),
] as const;
/** Those whose defaults a start adapter's record gives: a training draws anew unless it is told not to. */
const ownNames = trainNames.filter((name) => name !== 'seed');
/** Their values, with those that method and preset decide. */
export type TrainValues = Values<(typeof trainNames)[number]> &
  Required<Pick<TrainOptions, 'lr' | 'epochs' | 'schedule'>>;

/** Options that a resumed run may be given anew: its numbers do not depend on them. */
const free: readonly OptionName[] = ['device', 'threads', 'json', 'out', 'resume', 'config', 'profile'];

/** Options whose default depends on method and preset. Prompt tuning's are those of bench/ACCURACY.md that learnt most. */
function methodDefaults({ method, preset }: { method: 'lora' | 'prompt'; preset?: 'study' }): Given {
  const study = preset === 'study';
  const { epochs, schedule } = trainDefaults;
  if (method === 'lora') return { lr: 5e-4, epochs, schedule, init: study ? 'normal' : 'true' };
  return study
    ? { lr: 0.03, epochs, schedule, promptInit: 'random' }
    : { lr: 0.03, epochs: 8, schedule: 'cosine', promptInit: 'vocab' };
}

/** Options that have no effect on a run: the other method's, and all of an adapter's where it goes on from one. */
const unusedOptions = ({ adapter, method }: Pick<TrainValues, 'adapter' | 'method'>): readonly OptionName[] =>
  adapter !== undefined ? adapterOptions : methodOptions[method === 'lora' ? 'prompt' : 'lora'];

/** Options that make prompts of texts with labels. Prompts with completions are there already. */
export const labelledOptions: readonly OptionName[] = ['labels', 'prompt', 'instruction'];

/** Says of each of these options that is given that it has no effect, and why. */
export function warnOfUnused(unused: readonly OptionName[], given: Given, reason: string, out: Output): void {
  for (const name of unused.filter((name) => given[name] !== undefined))
    out.warn(`--${flagName(name)} has no effect: ${reason}`);
}

/** The options that make a run on such data what it is. */
export function withoutUnused(o: TrainValues, kind: DataSet['kind']): Partial<TrainValues> {
  const unused = [...unusedOptions(o), ...(kind === 'completions' ? labelledOptions : [])];
  return Object.fromEntries(Object.entries(o).filter(([name]) => !unused.includes(name as OptionName)));
}

/** Paths of files that are there, as they are from anywhere: the run and its adapter outlive the folder of today. */
function withWholePaths(given: Given): Given {
  const paths = (['model', 'adapter', 'data', 'val'] as const).flatMap((name) => {
    const path = given[name];
    return typeof path === 'string' ? [[name, wholePath(path)]] : [];
  });
  return { ...given, ...Object.fromEntries(paths) };
}

/** What the run was started with; flags may repeat it but not change it. */
async function storedOptions(run: RunFolder, given: Given): Promise<Given> {
  run.assertRun();
  await run.claim();
  const stored = await readConfig(run.configPath, trainNames);
  const device = given.device as DeviceName | undefined;
  if (stored.compute === 'int16' && device !== undefined && !hasInt16(device)) {
    const reason = 'computes with --compute int16, which --device wasm alone has, and resuming goes on with it';
    throw new CliError('device', `--device ${device}: the run in ${run.path} ${reason}`);
  }
  for (const [name, value] of Object.entries(given) as [OptionName, unknown][]) {
    const before = stored[name];
    // The run's file has what 'auto' came to.
    if (free.includes(name) || value === 'auto' || JSON.stringify(value) === JSON.stringify(before)) continue;
    throw usageError(
      `--${flagName(name)} ${value}: the run in ${run.path} has ${JSON.stringify(before) ?? 'none'}, and resuming goes on with it`,
    );
  }
  return {
    ...stored,
    ...Object.fromEntries(Object.entries(given).filter(([name]) => free.includes(name as OptionName))),
  };
}

/** The values of this run: flags, file, what the start adapter records, what the method asks for, defaults. */
export async function runValues(run: RunFolder, flags: Given, out: Output): Promise<TrainValues> {
  const given = withWholePaths(flags);
  if (given.resume) return resolve(trainNames, await storedOptions(run, given)) as TrainValues;
  await run.assertNew();
  const fixed = adapterOptions.find((name) => given.adapter !== undefined && given[name] !== undefined);
  if (fixed) throw usageError(`--${flagName(fixed)}: the adapter ${given.adapter} brings its own`);
  const adapter = given.adapter as string | undefined;
  const record = await recordedOptions(adapter, ownNames, given, out);
  if (adapter !== undefined) record.method = (await readAdapterSettings(adapter)).method;
  const values = resolve(trainNames, given, record, methodDefaults(resolve(trainNames, given, record))) as TrainValues;
  warnOfUnused(unusedOptions(values), given, `the method is ${values.method}`, out);
  return values;
}

/** @throws CliError for options that contradict each other */
export function assertConsistent(o: TrainValues): void {
  if (o.method === 'prompt' && o.initText !== undefined && o.promptInit !== 'text')
    throw usageError(`--init-text: only --prompt-init text begins with a text, this run has ${o.promptInit}`);
  if (o.keep === 'best' && o.val === undefined) throw usageError('--keep best: give --val, to know which is best');
  if (o.warmup > 1 && !Number.isInteger(o.warmup))
    throw usageError(`--warmup ${o.warmup}: expected whole steps, or a fraction below 1`);
}
