// What a step computes is what its tokens need: multiply-adds counted from the ops that ran, against the model's sizes.
import { expect, test } from 'vitest';
import { createReferenceBackend, Forest, type Observer, Rng, scope, tensor, withContext } from '../../engine/index.ts';
import { generateBatch, generateBatches } from '../../models/generate.ts';
import { defaultLora } from '../../peft/lora.ts';
import { PeftModel } from '../../peft/model.ts';
import { accumulateGradients } from '../../peft/step.ts';
import { loadGolden } from '../support/golden.ts';

const backend = createReferenceBackend();

/** Multiply-adds by op of everything that runs in `fn`; ops that are made of others count by their parts. */
async function count(fn: () => Promise<unknown> | unknown): Promise<(name: string) => number> {
  const sums = new Map<string, number>();
  const observer: Observer = ({ def, specs, attrs }) => {
    if (!def.launch) return;
    sums.set(def.name, (sums.get(def.name) ?? 0) + def.cost(specs, attrs as never).multiplyAdds);
  };
  await withContext({ observer }, async () => fn());
  return (name) => sums.get(name) ?? 0;
}

const load = async (): Promise<PeftModel> => new PeftModel(await loadGolden('llama2-gqa-tied', backend));
const sizes = ({ model: { config: c } }: PeftModel) => ({
  ...c,
  query: c.hiddenSize * c.numAttentionHeads * c.headDim,
  key: c.hiddenSize * c.numKeyValueHeads * c.headDim,
  mlp: 3 * c.hiddenSize * c.intermediateSize,
  /** Of one visible (query, key) pair: score and weighted value. */
  pair: 2 * c.numAttentionHeads * c.headDim,
});

test('a forward pass costs the rows there are, and the last layer the rows that are wanted', async () => {
  const peft = await load();
  const forest = new Forest();
  const root = forest.add(-1, 10);
  const lengths = [3, 20, 0, 7];
  for (const n of lengths) forest.add(root, n);
  // The last row of every review that has one.
  const outputs = [12, 32, 39];
  const ids = Array.from({ length: forest.rows }, (_, i) => i % 96);
  const rows = 40;
  const of = await count(() => {
    using _ = scope();
    peft.eval().forward({ forest, ids, outputs });
  });
  const { numHiddenLayers: L, query, key, mlp, pair } = sizes(peft);
  expect(forest.rows).toBe(rows);
  expect(of('linear')).toBe((L - 1) * rows * (2 * query + 2 * key + mlp) + rows * 2 * key + 3 * (2 * query + mlp));
  // Inside the root 1 + … + 10; a review's row t sees the root and t + 1 rows of its own.
  const own = (n: number): number => (n * (n + 1)) / 2;
  const pairs = own(10) + lengths.reduce((sum, n) => sum + 10 * n + own(n), 0);
  const wanted = 10 + 3 + (10 + 20) + (10 + 7);
  expect(of('attention')).toBe(((L - 1) * pairs + wanted) * pair);
  peft.dispose();
});

test('batches of generation compute what they all begin with once', async () => {
  const peft = (await load()).eval();
  await peft.addPrompt({ virtualTokens: 3, init: 'random' }, new Rng(0));
  const draw = (n: number): number[] => Array.from({ length: n }, (_, i) => (7 * i + n) % 96);
  const batches = [[draw(4), draw(9)], [draw(12), draw(1)], [draw(5)]];
  const options = { shared: draw(10), maxNewTokens: 3, eosIds: [] };
  const answers: number[][] = [];
  const of = await count(async () => {
    for await (const batch of generateBatches(peft, batches, options)) answers.push(...batch);
  });
  const { numHiddenLayers: L, query, key, mlp, vocabSize, hiddenSize: C } = sizes(peft);
  // Virtual tokens, the shared ones, the prompts, and of each answer the tokens that another one follows; all 15 predict one.
  const [rows, wanted] = [3 + 10 + (4 + 9 + 12 + 1 + 5) + 5 * 2, 5 * 3];
  const layers = (L - 1) * rows * (2 * query + 2 * key + mlp) + rows * 2 * key + wanted * (2 * query + mlp);
  expect(of('linear')).toBe(layers + wanted * vocabSize * C);
  for (const [i, prompt] of batches.flat().entries()) {
    expect((await generateBatch(peft, [prompt], options))[0]).toEqual(answers[i]);
  }
  peft.dispose();
});

test('a training step costs what its tokens and its trainable tensors need', async () => {
  const peft = await load();
  const r = 3;
  peft.addLora({ ...defaultLora, r, dropout: 0, targetModules: ['q_proj', 'v_proj'] }, new Rng(0));
  const example = (index: number, prompt: number) => ({
    index,
    shared: Array.from({ length: 10 }, (_, i) => i),
    prompt: Array.from({ length: prompt }, (_, i) => (index + i) % 96),
    answer: [5],
    cut: false,
  });
  const batch = [3, 20, 7].map((n, place) => ({ example: example(place, n), place }));
  const rng = tensor(Int32Array.of(0, 0), [2], { dtype: 'i32', backend }).persist();
  const options = { virtualTokens: 0, sharePrefix: true, microBatch: 8, recompute: false };
  const of = await count(() => accumulateGradients(peft.train(), batch, rng, options, () => {}));
  const {
    numHiddenLayers: L,
    query,
    key,
    mlp,
    vocabSize,
    hiddenSize: C,
    numAttentionHeads: H,
    headDim: D,
  } = sizes(peft);
  const { numKeyValueHeads: KVH } = sizes(peft);
  const [rows, wanted] = [10 + 3 + 20 + 7, 3];
  // Logits and their gradient exist on the rows that predict a label token.
  expect(of('linearCrossEntropy')).toBe(2 * wanted * vocabSize * C);
  // dX through the frozen weights: everything above the first layer's q, k and v, whose input needs no gradient.
  const base = wanted * (2 * query + mlp) + rows * 2 * key + (L - 2) * rows * (2 * query + 2 * key + mlp);
  const first = rows * (query + mlp);
  // du = g·B for q (its last layer on the wanted rows) and v; du·A where the input needs a gradient.
  const widthB = (n: number): number => n * r;
  const du = (L - 1) * rows * widthB(H * D) + wanted * widthB(H * D) + L * rows * widthB(KVH * D);
  const dx = ((L - 2) * rows + wanted) * r * C + (L - 1) * rows * r * C;
  expect(of('linearGradInput')).toBe(base + first + du + dx);
  rng.dispose();
  peft.dispose();
});
