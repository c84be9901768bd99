import { Rng } from '../../engine/index.ts';
import { size } from '../../engine/shape.ts';
import { type Checkpoint, expectedTensors, openCheckpoint } from '../../models/checkpoint/index.ts';
import { goldenPath } from './golden.ts';

/** Random weights of two layers that are wide enough for products in 16 bits, as those of the golden models are not. */
export async function wideCheckpoint(intermediateSize = 256): Promise<Checkpoint> {
  const small = await openCheckpoint(goldenPath('llama3-scaled'));
  await small.close();
  const config = { ...small.config, hiddenSize: 192, intermediateSize, headDim: 48 };
  const shapes = expectedTensors(config);
  const names = [...shapes.keys()];
  const read = async (name: string): Promise<Uint8Array> => {
    const shape = shapes.get(name) as readonly number[];
    const rng = new Rng(5, names.indexOf(name));
    const mean = shape.length === 1 ? 1 : 0;
    return new Uint8Array(Float32Array.from({ length: size(shape) }, () => rng.normal(mean, 0.07)).buffer);
  };
  return {
    ...{ format: 'hf', path: 'random weights', config, read },
    tensors: new Map([...shapes].map(([name, shape]) => [name, { shape, dtype: 'f32' }])),
    tokenizer: () => small.tokenizer(),
    close: async () => {},
  };
}
