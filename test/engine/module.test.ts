import { describe, expect, test } from 'vitest';
import {
  createReferenceBackend,
  Linear,
  Module,
  parameter,
  setBackend,
  type Tensor,
  tensor,
} from '../../engine/index.ts';

setBackend(createReferenceBackend());

const linear = (...values: number[]): Linear => new Linear(parameter(tensor([values])), parameter(tensor([0])));

/** Two blocks in a list, and a head that is one of their tensors. */
class Net extends Module {
  inputBlocks = [linear(1, 2), linear(3, 4)];
  readonly head: Tensor = this.inputBlocks[1].weight;
  readonly name = 'no tensor';
}

const names = ['input_blocks.0.weight', 'input_blocks.0.bias', 'input_blocks.1.weight', 'input_blocks.1.bias'];

describe('a module', () => {
  test('names its tensors as checkpoints do, one in two places once', () => {
    const net = new Net();
    const found = [...net.namedTensors()].map(([name]) => name);
    expect(found).toHaveLength(4);
    expect(new Set(found)).toEqual(new Set(['head', ...names.filter((name) => name !== 'input_blocks.1.weight')]));
    expect([...net.namedModules()].map(([name]) => name)).toEqual(['', 'input_blocks.0', 'input_blocks.1']);
  });

  test('trains, evaluates and freezes with all its parts', () => {
    const net = new Net();
    const training = (): boolean[] => [...net.namedModules()].map(([, module]) => module.training);
    expect(training()).toEqual([false, false, false]);
    net.train();
    expect(training()).toEqual([true, true, true]);
    net.eval();
    expect(training()).toEqual([false, false, false]);
    expect(net.parameters()).toHaveLength(4);
    net.freeze();
    expect(net.parameters()).toEqual([]);
  });

  test('takes another’s values, and refuses what does not fit by name', async () => {
    const [from, to] = [linear(5, 6), linear(0, 0)];
    await to.loadStateDict(from.stateDict());
    expect([...(await to.weight.data())]).toEqual([5, 6]);
    from.weight.set([7, 8]);
    expect([...(await to.weight.data())]).toEqual([5, 6]);
    await expect(to.loadStateDict(new Net().stateDict())).rejects.toThrow(
      /loadStateDict: missing \[weight, bias\], unexpected \[.*input_blocks\.0\.weight/,
    );
    await expect(linear(1).loadStateDict(from.stateDict())).rejects.toThrow(
      'loadStateDict: weight has shape [1, 2] for [1, 1]',
    );
  });
});
