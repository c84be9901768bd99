import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { expect } from 'vitest';
import { Forest, noGrad, scope } from '../../engine/index.ts';
import { prepareBatch } from '../../models/batch.ts';
import { openCheckpoint } from '../../models/checkpoint/index.ts';
import { LlamaModel } from '../../models/llama.ts';
import { describeBackends } from '../support/backends.ts';
import { itWithData } from '../support/data.ts';

/** By a float64 NumPy forward pass of the same files (see the data's manifest); logits to five decimals. */
interface Expected {
  prompt_ids?: number[];
  greedy_ids: number[];
  greedy_text: string;
  top5: [id: number, logit: number][][];
  top5_positions?: number[];
  mean_nll_greedy_ids: number;
}

describeBackends('really trained small models', (backendOf) => {
  const models = ['data/models/stories260K/stories260K.bin', 'data/models/TinyStories-656K/model.safetensors'];
  for (const file of models) {
    itWithData(`greedy text, logits and likelihood of ${file}`, file, async (path) => {
      const expected: Expected = JSON.parse(readFileSync(join(dirname(path), 'expected.json'), 'utf8'));
      const checkpoint = await openCheckpoint(path.endsWith('.bin') ? path : dirname(path));
      const model = await LlamaModel.load(checkpoint, backendOf());
      const tokenizer = await checkpoint.tokenizer();
      await checkpoint.close();
      const { greedy_ids: ids, top5, top5_positions: positions = top5.keys(), prompt_ids: prompt = [1] } = expected;
      expect(ids.slice(0, prompt.length)).toEqual(prompt);
      expect(tokenizer.decode(ids, { skipSpecial: true }).trim()).toContain(expected.greedy_text.trim());
      await noGrad(async () => {
        using _ = scope();
        const forest = new Forest();
        forest.add(-1, ids.length);
        const logits = await model.logits(model.forward(prepareBatch({ forest, ids }, backendOf()))).data();
        const V = model.config.vocabSize;
        const row = (t: number) => Array.from(logits.subarray(t * V, (t + 1) * V));
        for (const [i, t] of [...positions].entries()) {
          for (const [id, logit] of top5[i]) expect(row(t)[id]).toBeCloseTo(logit, 4);
        }
        let nll = 0;
        for (let t = 0; t + 1 < ids.length; t++) {
          const scores = row(t);
          const largest = Math.max(...scores);
          if (t + 1 >= prompt.length) expect(scores.indexOf(largest), `token ${t + 1}`).toBe(ids[t + 1]);
          const sum = scores.reduce((total, x) => total + Math.exp(x - largest), 0);
          nll += Math.log(sum) + largest - scores[ids[t + 1]];
        }
        expect(nll / (ids.length - 1)).toBeCloseTo(expected.mean_nll_greedy_ids, 4);
      });
      model.dispose();
    });
  }
});
