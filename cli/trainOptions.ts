import { readAdapterSettings } from '../peft/adapter.ts';
import { type Given, readConfig, resolve } from './config.ts';
import { usageError } from './exit.ts';
import { common, dataOptions, flagName, type OptionName, promptOptions, type Values } from './options.ts';
import type { Output } from './output.ts';
import type { RunFolder } from './runFolder.ts';
import { recordedOptions } from './session.ts';

const adapterOptions = [
  ...(['method', 'preset', 'rank', 'alpha', 'dropout', 'rslora', 'targetModules', 'init'] as const),
  ...(['virtualTokens', 'promptInit', 'initText'] as const),
] as const;
export const trainNames = [
  ...(['model', 'adapter', 'out', 'val'] as const),
  ...common,
  ...dataOptions,
  ...promptOptions,
  ...adapterOptions,
  ...(['epochs', 'batchSize', 'microBatch', 'lr', 'schedule', 'warmup', 'weightDecay', 'maxGradNorm'] as const),
  ...(['evalEvery', 'saveEvery', 'keep', 'resume', 'recompute', 'sharePrefix'] as const),
] as const;
/** Their values, with those that method and preset decide. */
export type TrainValues = Values<(typeof trainNames)[number]> & { lr: number };

/** Options that a resumed run may be given anew: its numbers do not depend on them. */
const free: readonly OptionName[] = ['device', 'threads', 'json', 'out', 'resume', 'config'];

/** Options whose default depends on method and preset. */
function methodDefaults({ method, preset }: { method: 'lora' | 'prompt'; preset?: 'study' }): Given {
  const study = preset === 'study';
  return method === 'lora'
    ? { lr: 5e-4, init: study ? 'normal' : 'true' }
    : { lr: study ? 0.03 : 0.01, promptInit: study ? 'random' : 'vocab' };
}

/** What the run was started with; flags may repeat it but not change it. */
async function storedOptions(run: RunFolder, given: Given): Promise<Given> {
  run.assertRun();
  const stored = await readConfig(run.configPath, trainNames);
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
export async function runValues(run: RunFolder, given: Given, out: Output): Promise<TrainValues> {
  if (given.resume) return resolve(trainNames, await storedOptions(run, given)) as TrainValues;
  await run.assertNew();
  const fixed = adapterOptions.find((name) => given.adapter !== undefined && given[name] !== undefined);
  if (fixed) throw usageError(`--${flagName(fixed)}: the adapter ${given.adapter} brings its own`);
  const adapter = given.adapter as string | undefined;
  const record = await recordedOptions(adapter, given, out);
  if (adapter !== undefined) record.method = (await readAdapterSettings(adapter)).method;
  return resolve(trainNames, given, record, methodDefaults(resolve(trainNames, given, record))) as TrainValues;
}

/** @throws CliError for options that contradict each other */
export function assertConsistent(o: TrainValues): void {
  if (o.keep === 'best' && o.val === undefined) throw usageError('--keep best: give --val, to know which is best');
  if (o.warmup > 1 && !Number.isInteger(o.warmup))
    throw usageError(`--warmup ${o.warmup}: expected whole steps, or a fraction below 1`);
}
