import { describe, expect, test } from 'vitest';
import { type Backend, Forest, noGrad, Rng, scope, tensor, withContext } from '../../engine/index.ts';
import { KeyValueCache } from '../../models/cache.ts';
import type { Example } from '../../peft/examples.ts';
import { defaultLora } from '../../peft/lora.ts';
import { PeftModel } from '../../peft/model.ts';
import { accumulateGradients, type StepOptions } from '../../peft/step.ts';
import { type TrainOptions, train } from '../../peft/train.ts';
import { meanLoss } from '../../peft/validate.ts';
import { describeBackends } from '../support/backends.ts';
import { loadGolden, relativeError } from '../support/golden.ts';

const V = 96;
const ids = (rng: Rng, n: number): number[] => Array.from({ length: n }, () => rng.int(V));

/** Examples that begin alike and differ in the lengths of prompt and answer. */
function examplesOf(lengths: readonly [prompt: number, answer: number][], shared = 5): Example[] {
  const rng = new Rng(7);
  const before = ids(rng, shared);
  return lengths.map(([prompt, answer], index) => ({
    index,
    shared: before,
    prompt: ids(rng, prompt),
    answer: ids(rng, answer),
    cut: false,
  }));
}
const eight = examplesOf([
  [3, 2],
  [17, 1],
  [1, 4],
  [9, 2],
  [33, 3],
  [8, 1],
  [12, 2],
  [2, 2],
]);

type Method = 'lora' | 'prompt';

/** A golden model with an adapter none of whose gradients is zero. */
async function adapted(backend: Backend, method: Method, dropout: number, seed = 0): Promise<PeftModel> {
  const peft = new PeftModel(await loadGolden('llama2-gqa-tied', backend));
  const rng = new Rng(seed);
  if (method === 'prompt') await peft.addPrompt({ virtualTokens: 4, init: 'random' }, rng);
  else peft.addLora({ ...defaultLora, r: 3, dropout, targetModules: 'all-linear' }, rng);
  for (const [name, t] of peft.namedParameters()) {
    if (name.includes('lora_B')) t.set(Float64Array.from({ length: t.size }, () => rng.normal(0, 0.3)));
  }
  return peft;
}

interface Result {
  loss: number;
  gradients: Map<string, number[]>;
}

/** One step's loss and gradients; the adapter stays as it is. */
async function stepOf(
  peft: PeftModel,
  batch: readonly Example[],
  options: Partial<StepOptions>,
  training = true,
): Promise<Result> {
  const { backend } = peft.model;
  using rng = tensor(Int32Array.of(11, 3), [2], { dtype: 'i32', backend }).persist();
  const losses: Promise<number>[] = [];
  peft.train(training);
  await accumulateGradients(
    peft,
    batch.map((example, place) => ({ example, place })),
    rng,
    { virtualTokens: peft.virtualTokens, sharePrefix: true, microBatch: 8, recompute: false, ...options },
    (loss) => losses.push(loss.item()),
  );
  const gradients = new Map<string, number[]>();
  for (const [name, t] of peft.namedParameters()) {
    gradients.set(name, [...((await t.grad?.data()) ?? [])]);
    t.grad?.dispose();
    t.grad = undefined;
  }
  return { loss: (await Promise.all(losses)).reduce((a, b) => a + b, 0), gradients };
}

function expectClose(found: Result, expected: Result, tolerance: number): void {
  expect(Math.abs(found.loss / expected.loss - 1)).toBeLessThan(tolerance);
  expect(found.gradients.size).toBeGreaterThan(0);
  for (const [name, g] of expected.gradients) {
    expect(Math.max(...g.map(Math.abs)), `${name} is not zero`).toBeGreaterThan(0);
    expect(relativeError(found.gradients.get(name) ?? [], g), name).toBeLessThan(tolerance);
  }
}

describeBackends('a step', (backendOf, kind) => {
  const tolerance = kind === 'reference' ? 1e-12 : 1e-5;

  describe.each<[Method, number]>([
    ['lora', 0],
    ['lora', 0.3],
    ['prompt', 0],
  ])('%s, dropout %d', (method, dropout) => {
    test('eight examples at once, one at a time or three at a time', async () => {
      const peft = await adapted(backendOf(), method, dropout);
      const whole = await stepOf(peft, eight, { microBatch: 8 });
      expectClose(await stepOf(peft, eight, { microBatch: 1 }), whole, tolerance);
      expectClose(await stepOf(peft, eight, { microBatch: 3 }), whole, tolerance);
      peft.dispose();
    });

    test('recomputing layers changes no bit', async () => {
      const peft = await adapted(backendOf(), method, dropout);
      const kept = await stepOf(peft, eight, { microBatch: 4, recompute: false });
      expect(await stepOf(peft, eight, { microBatch: 4, recompute: true })).toEqual(kept);
      peft.dispose();
    });
  });

  test.each<Method>(['lora', 'prompt'])('%s: a prefix computed once or once a review', async (method) => {
    const peft = await adapted(backendOf(), method, 0);
    const shared = await stepOf(peft, eight, { sharePrefix: true });
    expectClose(await stepOf(peft, eight, { sharePrefix: false }), shared, tolerance);
    peft.dispose();
  });

  test('the loss of a validation is a step’s, however many examples it computes at once', async () => {
    const peft = await adapted(backendOf(), 'lora', 0.3);
    const { loss } = await stepOf(peft, eight, { sharePrefix: false }, false);
    for (const n of [1, 3, 8]) {
      expect(Math.abs((await meanLoss(peft, eight, n)) / loss - 1)).toBeLessThan(tolerance);
    }
    peft.dispose();
  });

  test('an example’s gradient does not depend on the examples packed with it', async () => {
    const peft = await adapted(backendOf(), 'lora', 0);
    const { gradients: together } = await stepOf(peft, eight.slice(0, 2), {});
    const apart = [await stepOf(peft, eight.slice(0, 1), {}), await stepOf(peft, eight.slice(1, 2), {})];
    // Weights are those of the mean over label tokens: 2 and 1 of them.
    for (const [name, g] of together) {
      const [first, second] = apart.map((r) => r.gradients.get(name) as number[]);
      const mean = g.map((_, i) => (2 * first[i] + second[i]) / 3);
      expect(relativeError(g, mean), name).toBeLessThan(tolerance);
    }
    peft.dispose();
  });

  describe('dropout', () => {
    test('works on the low-rank branch alone: where B is zero it changes no bit', async () => {
      const losses = [];
      for (const dropout of [0, 0.5]) {
        const peft = await adapted(backendOf(), 'lora', dropout);
        for (const [name, t] of peft.namedParameters()) if (name.includes('lora_B')) t.set(new Float64Array(t.size));
        losses.push((await stepOf(peft, eight, {})).loss);
        peft.dispose();
      }
      expect(losses[1]).toBe(losses[0]);
    });

    test('is on while training and off in evaluation', async () => {
      const results: { trained: number; evaluated: number }[] = [];
      for (const dropout of [0, 0.5]) {
        const peft = await adapted(backendOf(), 'lora', dropout);
        const { loss: trained } = await stepOf(peft, eight, {});
        results.push({ trained, evaluated: (await stepOf(peft, eight, {}, false)).loss });
        peft.dispose();
      }
      const [without, withIt] = results;
      expect(without.trained).toBe(without.evaluated);
      expect(withIt.evaluated).toBe(without.evaluated);
      expect(Math.abs(withIt.trained - withIt.evaluated)).toBeGreaterThan(1e-4);
    });
  });

  test('refuses to train through a cache, which gradients do not reach', async () => {
    const peft = await adapted(backendOf(), 'lora', 0);
    using cache = new KeyValueCache(peft.model, 8);
    const forest = new Forest();
    forest.add(-1, 3);
    const rows = { forest, ids: [1, 2, 3], outputs: [2] };
    await withContext({}, async () => {
      using _ = scope();
      expect(() => peft.forward(rows, { cache })).toThrow(/appendRows writes in place and is not recorded/);
      noGrad(() => peft.forward(rows, { cache }));
      expect(cache.length).toBe(3);
    });
    peft.dispose();
  });

  test('two trainings interleaved by await give what each gives alone', async () => {
    const options: TrainOptions = {
      epochs: 2,
      batchSize: 3,
      microBatch: 2,
      seed: 5,
      lr: 1e-2,
      schedule: 'cosine',
      warmup: 1,
      weightDecay: 0.01,
      sharePrefix: true,
      recompute: false,
    };
    const run = async (seed: number, method: Method): Promise<unknown> => {
      const peft = await adapted(backendOf(), method, 0.2, seed);
      const events = [];
      for await (const { loss, gradNorm } of train(peft, eight, { ...options, seed })) events.push([loss, gradNorm]);
      const values = [];
      for (const [name, t] of peft.namedParameters()) values.push([name, [...(await t.data())]]);
      peft.dispose();
      return { events, values };
    };
    const alone = [await run(1, 'lora'), await run(2, 'prompt')];
    const together = await Promise.all([
      withContext({}, () => run(1, 'lora')),
      withContext({}, () => run(2, 'prompt')),
    ]);
    expect(together).toEqual(alone);
  });
});
