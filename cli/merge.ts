import { isVacant } from '../engine/file.ts';
import { saveMerged } from '../peft/merge.ts';
import { openDevice } from './backend.ts';
import { need, resolve } from './config.ts';
import { usageError } from './exit.ts';
import { loadModel, needModel, openModel, recordedOptions } from './session.ts';
import { verb } from './verb.ts';

const names = ['model', 'adapter', 'out', 'dtype', 'config', 'json', 'device', 'threads'] as const;

export const merge = verb({
  name: 'merge',
  summary: 'fold a LoRA adapter into its model: a Hugging Face folder that transformers opens',
  options: names,
  async run(_, { out, given }) {
    const adapter = need(given.adapter as string | undefined, 'adapter');
    const folder = need(given.out as string | undefined, 'out', 'the folder of the merged model');
    // Before the weights are read, which takes minutes where they are large.
    if (!(await isVacant(folder))) throw usageError(`${folder} is not empty: choose another --out`);
    const o = resolve(names, given, await recordedOptions(adapter, names, given, out));
    const model = needModel(o.model);
    await using device = await openDevice(o, out);
    await using opened = await openModel(model, out);
    const peft = await loadModel(opened, device, out, adapter);
    const report = await saveMerged(peft, folder, opened.tokenizer, { dtype: o.dtype });
    out.line(`merged model: ${folder}`);
    out.line(
      `largest difference of a logit on a probe text, merged and ${o.dtype}, from model with adapter: ` +
        `${report.largestDifference.toExponential(1)} (largest logit ${report.largestLogit.toFixed(1)})`,
    );
    out.result({ out: folder, ...report });
  },
});
