import { describe, expect, test } from 'vitest';
import { type Backend, createReferenceBackend, memory, noGrad, scope } from '../../engine/index.ts';
import { loadAdapter } from '../../peft/adapter.ts';
import { PeftModel } from '../../peft/model.ts';
import { LabelScorer } from '../../peft/score.ts';
import { describeBackends } from '../support/backends.ts';
import { goldenBatch, goldenPath, loadGolden, readNumbers, relativeError } from '../support/golden.ts';

const model = 'llama2';

/** Logits of the first batch's tokens; virtual tokens' rows are left out. */
function logits(peft: PeftModel): Promise<number[]> {
  return noGrad(async () => {
    using _ = scope();
    const virtual = peft.virtualTokens;
    const batch = goldenBatch(await readNumbers(model, 'reference.safetensors'), 0, 3, virtual);
    const outputs = Array.from(batch.ids, (_, i) => virtual + i);
    return [...(await peft.model.logits(peft.forward({ ...batch, outputs })).data())];
  });
}

/** What transformers and peft compute for the same tokens, with one of the trained adapters or none. */
async function expected(adapter?: 'lora' | 'lora-all' | 'prompt'): Promise<number[]> {
  const numbers = await readNumbers(model, 'reference.safetensors');
  const padded = (numbers.get('batch0.input_ids')?.length as number) / 3;
  const virtual = adapter === 'prompt' ? 8 : 0;
  const all = adapter
    ? (await readNumbers(model, adapter, 'reference.safetensors')).get('trained.batch0.logits')
    : numbers.get('batch0.logits');
  const V = 96;
  return goldenBatch(numbers, 0, 3).padded.flatMap((p) => {
    const row = Math.floor(p / padded) * (padded + virtual) + virtual + (p % padded);
    return [...(all?.subarray(row * V, (row + 1) * V) ?? [])];
  });
}

async function withAdapters(backend: Backend, ...kinds: string[]): Promise<PeftModel> {
  const peft = new PeftModel(await loadGolden(model, backend));
  for (const kind of kinds) await loadAdapter(peft, goldenPath(model, kind, 'trained'), kind);
  return peft.eval();
}

describeBackends('several adapters', (backendOf) => {
  test('one of them is active, or none', async () => {
    const peft = await withAdapters(backendOf(), 'lora', 'lora-all', 'prompt');
    expect([...peft.adapters.keys()]).toEqual(['lora', 'lora-all', 'prompt']);
    expect(peft.activeName).toBe('prompt');
    for (const name of ['lora', 'prompt', 'lora-all', 'lora'] as const) {
      peft.setAdapter(name);
      expect(relativeError(await logits(peft), await expected(name)), name).toBeLessThan(1e-5);
    }
    await peft.withoutAdapter(async () => {
      expect(relativeError(await logits(peft), await expected())).toBeLessThan(1e-5);
      expect(peft.namedParameters()).toEqual([]);
    });
    expect(peft.activeName).toBe('lora');
    expect(relativeError(await logits(peft), await expected('lora'))).toBeLessThan(1e-5);
    expect(() => peft.setAdapter('other')).toThrow("no adapter 'other'; loaded: lora, lora-all, prompt");
    await expect(loadAdapter(peft, goldenPath(model, 'lora', 'start'), 'lora')).rejects.toThrow(
      "an adapter named 'lora' is loaded already",
    );
    peft.dispose();
  });

  test('merged, the answers stay; unmerged, the weights are what they were, bit for bit', async () => {
    const peft = await withAdapters(backendOf(), 'lora', 'lora-all');
    const before = await logits(peft);
    const { tensors } = memory();
    peft.merge();
    const merged = await logits(peft);
    expect(merged).not.toEqual(before);
    expect(relativeError(merged, await expected('lora-all'))).toBeLessThan(1e-5);
    peft.merge();
    expect(await logits(peft)).toEqual(merged);
    peft.unmerge();
    expect(await logits(peft)).toEqual(before);
    expect(memory().tensors).toBe(tensors);
    peft.merge();
    peft.setAdapter('lora');
    expect(relativeError(await logits(peft), await expected('lora'))).toBeLessThan(1e-5);
    peft.merge();
    peft.setAdapter(undefined);
    expect(relativeError(await logits(peft), await expected())).toBeLessThan(1e-5);
    peft.dispose();
  });
});

describe('what cannot be', () => {
  test.each(['prompt', undefined])('merging %s', async (kind) => {
    const peft = await withAdapters(createReferenceBackend(), ...(kind ? [kind] : []));
    expect(() => peft.merge()).toThrow('merge: only an active LoRA adapter can be merged');
    peft.dispose();
  });
});

describeBackends('a scorer', (backendOf) => {
  test('computes the shared prefix anew when another adapter is active', async () => {
    const shared = [1, 7, 11, 30, 2];
    const examples = [{ index: 0, shared, prompt: [5, 6], answer: [], cut: false }];
    const labels = { tokens: [[20], [21, 22]], endScored: false };
    const peft = await withAdapters(backendOf(), 'lora', 'prompt', 'lora-all');
    const fresh = async () => {
      using scorer = new LabelScorer(peft, labels, shared);
      return scorer.score(examples);
    };
    using scorer = new LabelScorer(peft, labels, shared);
    const seen = new Set<number>();
    for (const change of ['lora', 'prompt', undefined, 'lora-all']) {
      peft.setAdapter(change);
      const scores = await scorer.score(examples);
      expect(scores, change).toEqual(await fresh());
      seen.add(scores[0].logProbs[0]);
    }
    expect(seen.size).toBe(4);
    peft.merge();
    expect(await scorer.score(examples)).toEqual(await fresh());
    scorer[Symbol.dispose]();
    peft.dispose();
  });
});
