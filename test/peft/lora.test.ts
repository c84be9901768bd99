import { describe, expect, test } from 'vitest';
import { createReferenceBackend, Rng } from '../../engine/index.ts';
import { defaultLora, type LoraConfig, type LoraInit, rankAndScale, targetedSites } from '../../peft/lora.ts';
import { PeftModel } from '../../peft/model.ts';
import { loadGolden } from '../support/golden.ts';

const backend = createReferenceBackend();
const peft = new PeftModel(await loadGolden('llama2', backend));

/** [layer and module, r, scale] of what a config targets on the golden model of two layers. */
const targets = (config: Partial<LoraConfig>): [string, number, number][] => {
  const whole = { ...defaultLora, r: 4, alpha: 8, ...config };
  return targetedSites([...peft.sites], whole).map(({ name }) => {
    const { r, scale } = rankAndScale(whole, name);
    return [name.replace('model.layers.', ''), r, scale];
  });
};

// What peft 0.21 targets on this model with the same configs.
describe('targets, ranks and scales are peft’s', () => {
  test.each<[string, Partial<LoraConfig>, [string, number, number][]]>([
    [
      'names and ends of paths',
      { targetModules: ['v_proj', 'mlp.gate_proj', 'model.layers.1.self_attn.o_proj'] },
      [
        ['0.self_attn.v_proj', 4, 2],
        ['0.mlp.gate_proj', 4, 2],
        ['1.self_attn.v_proj', 4, 2],
        ['1.self_attn.o_proj', 4, 2],
        ['1.mlp.gate_proj', 4, 2],
      ],
    ],
    [
      'a regular expression for the whole path',
      { targetModules: '.*\\.1\\..*(q|up)_proj' },
      [
        ['1.self_attn.q_proj', 4, 2],
        ['1.mlp.up_proj', 4, 2],
      ],
    ],
    [
      'all-linear, which the output layer is not part of, without some',
      { targetModules: 'all-linear', excludeModules: ['mlp.up_proj', 'q_proj', 'k_proj', 'v_proj', 'o_proj'] },
      [
        ['0.mlp.gate_proj', 4, 2],
        ['0.mlp.down_proj', 4, 2],
        ['1.mlp.gate_proj', 4, 2],
        ['1.mlp.down_proj', 4, 2],
      ],
    ],
    [
      'without what a regular expression matches',
      { excludeModules: '.*layers\\.0\\..*' },
      [
        ['1.self_attn.q_proj', 4, 2],
        ['1.self_attn.v_proj', 4, 2],
      ],
    ],
    ['some layers', { targetModules: ['q_proj'], layersToTransform: [1] }, [['1.self_attn.q_proj', 4, 2]]],
    [
      'other ranks and alphas; a key is no part of a name',
      {
        targetModules: ['q_proj', 'v_proj', 'o_proj'],
        rankPattern: { q_proj: 2, 'layers\\.1\\.self_attn\\.v_proj': 6, proj: 5 },
        alphaPattern: { 'model.layers.0.self_attn.q_proj': 32, o_proj: 1 },
      },
      [
        ['0.self_attn.q_proj', 2, 16],
        ['0.self_attn.v_proj', 4, 2],
        ['0.self_attn.o_proj', 4, 0.25],
        ['1.self_attn.q_proj', 2, 4],
        ['1.self_attn.v_proj', 6, 8 / 6],
        ['1.self_attn.o_proj', 4, 0.25],
      ],
    ],
    [
      'rank-stabilised',
      { rslora: true, rankPattern: { v_proj: 9 } },
      [
        ['0.self_attn.q_proj', 4, 4],
        ['0.self_attn.v_proj', 9, 8 / 3],
        ['1.self_attn.q_proj', 4, 4],
        ['1.self_attn.v_proj', 9, 8 / 3],
      ],
    ],
  ])('%s', (_, config, expected) => {
    expect(targets(config).sort()).toEqual(expected.sort());
  });

  test('none is an error that lists what there is', () => {
    expect(() => targets({ targetModules: ['query'] })).toThrow(
      'LoRA: no linear layer matches ["query"]; there are q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj',
    );
  });
});

// 6,144 values of A in each case: their variance is within 5 standard errors (√(2/6144), at most) of what it should be.
test.each<[LoraInit, variance: number, bound: number]>([
  ['true', 1 / (3 * 32), 1 / Math.sqrt(32)],
  ['gaussian', 1 / 24 ** 2, Number.POSITIVE_INFINITY],
  ['normal', 1, Number.POSITIVE_INFINITY],
])('initialisation %s: A is drawn from its distribution by the seed, B is zero', async (init, variance, bound) => {
  const draw = async (seed: number): Promise<{ a: number[]; b: number[] }> => {
    const name = `${init} ${seed} ${peft.adapters.size}`;
    peft.addLora(
      { ...defaultLora, r: 24, targetModules: ['q_proj', 'o_proj', 'k_proj', 'v_proj'], init },
      new Rng(seed),
      name,
    );
    const values = async (part: string): Promise<number[]> =>
      (
        await Promise.all(
          peft
            .namedParameters()
            .filter(([n]) => n.includes(part))
            .map(([, t]) => t.data()),
        )
      ).flatMap((x) => [...x]);
    return { a: await values('lora_A'), b: await values('lora_B') };
  };
  const { a, b } = await draw(0);
  expect(a.length).toBe(6144);
  expect(b.every((x) => x === 0)).toBe(true);
  const mean = a.reduce((sum, x) => sum + x, 0) / a.length;
  expect(Math.abs(mean)).toBeLessThan(5 * Math.sqrt(variance / a.length));
  const found = a.reduce((sum, x) => sum + x * x, 0) / a.length;
  expect(Math.abs(found / variance - 1)).toBeLessThan(5 * Math.sqrt(2 / a.length));
  expect(Math.max(...a.map(Math.abs))).toBeLessThanOrEqual(bound);
  expect((await draw(0)).a).toEqual(a);
  expect((await draw(1)).a).not.toEqual(a);
});
