// A device that fails does so for every call; who trains on it hears of it once.
import { afterEach, expect, test, vi } from 'vitest';
import { createReferenceBackend, Rng } from '../../engine/index.ts';
import type { Example } from '../../peft/examples.ts';
import { PeftModel } from '../../peft/model.ts';
import { train } from '../../peft/train.ts';
import { loadGolden } from '../support/golden.ts';

const unheard: unknown[] = [];
const listen = (reason: unknown): void => void unheard.push(reason);
afterEach(() => void process.off('unhandledRejection', listen));

test('a launch that throws while a report of the step before is under way', async () => {
  process.on('unhandledRejection', listen);
  const backend = createReferenceBackend();
  const peft = new PeftModel(await loadGolden('llama2', backend));
  const config = { r: 2, alpha: 4, dropout: 0, rslora: false, targetModules: ['q_proj'], init: 'true' } as const;
  peft.addLora({ ...config, targetModules: [...config.targetModules] }, new Rng(0));
  const example: Example = { index: 0, shared: [], prompt: [3, 4], answer: [5], cut: false };
  const lost = new Error('the device is lost');
  vi.spyOn(backend, 'read').mockImplementation(() => new Promise((_, reject) => setTimeout(reject, 1, lost)));
  const { launch } = backend;
  let steps = 0;
  vi.spyOn(backend, 'launch').mockImplementation((kernel, ...rest) => {
    if (kernel.startsWith('adamwStep') && ++steps === 2) throw lost;
    launch.call(backend, kernel, ...rest);
  });
  const events = train(peft, [example], { lr: 1e-3, epochs: 3, batchSize: 1 });
  await expect(events.next()).rejects.toBe(lost);
  await new Promise((over) => setTimeout(over, 20));
  expect(unheard).toEqual([]);
  peft.dispose();
});
