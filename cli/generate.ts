import { text as readAll } from 'node:stream/consumers';
import { generate as generateText } from '../models/generate.ts';
import { planGeneration } from '../peft/plan.ts';
import { Classification } from '../peft/task.ts';
import { openDevice } from './backend.ts';
import { resolve } from './config.ts';
import { CliError } from './exit.ts';
import { common, promptOptions } from './options.ts';
import { profiled } from './profile.ts';
import { loadModel, needModel, openModel, plannedUse, recordedOptions } from './session.ts';
import { verb } from './verb.ts';

const names = [
  ...(['model', 'adapter', 'text', 'profile'] as const),
  ...common,
  ...promptOptions,
  ...(['maxNewTokens', 'temperature', 'topK', 'topP', 'repetitionPenalty', 'stop'] as const),
] as const;

export const generate = verb({
  name: 'generate',
  summary: 'let a model, with or without adapter, answer a text',
  options: names,
  details:
    'The text is put into the prompt that --prompt and --instruction make (for an adapter, those it was trained with);\n' +
    '--prompt none gives the text alone. The answer is written as it comes.',
  async run(_, { out, given }) {
    const record = await recordedOptions(given.adapter as string | undefined, names, given, out);
    const o = resolve(names, given, record);
    const { maxNewTokens = 64 } = o;
    const model = needModel(o.model);
    await using device = await openDevice(o, out);
    const text = o.text ?? (await readAll(process.stdin)).replace(/\n$/, '');
    await using opened = await openModel(model, out);
    const { tokenizer, checkpoint } = opened;
    const example = new Classification([], o, tokenizer).prompt(text);
    if (example.cut) out.warn(`the text was cut to its first ${o.maxLength} tokens`);
    const prompt = [...example.shared, ...example.prompt];
    if (prompt.length === 0) throw new CliError('input', 'the prompt is empty: there is nothing to go on from');
    const { maxPositionEmbeddings: context } = checkpoint.config;
    const most = prompt.length + maxNewTokens;
    if (most > context) out.warn(`prompt and answer may take ${most} tokens, the model was made for ${context}`);
    const planned = await plannedUse(opened, device, o.adapter);
    if (planned) await planGeneration(planned, [prompt], { maxNewTokens });
    const peft = await loadModel(opened, device, out, o.adapter);
    let answer = '';
    await profiled(o.profile, out, async () => {
      for await (const piece of generateText(peft, prompt, tokenizer, { ...o, maxNewTokens })) {
        answer += piece;
        out.text(piece);
      }
      out.line();
    });
    out.result({ text: answer });
  },
});
