// The CUDA kernels on the simulator, and on a GPU where there is one, at sizes that the derived suite does not reach.
import { beforeAll, expect, test } from 'vitest';
import { weightDTypes } from '../../engine/dtype.ts';
import { createReferenceBackend, scope, withBackend } from '../../engine/index.ts';
import { describeCuda } from '../support/cudaDevices.ts';
import { seededGen } from '../support/gen.ts';
import { packetEnds } from '../support/largeCases/case.ts';
import { largeCases } from '../support/largeCases/index.ts';
import { checkParity } from '../support/parity.ts';

const reference = createReferenceBackend();

describeCuda('large', 80, (backend) => {
  const launched: string[] = [];
  beforeAll(() => {
    const { device } = backend();
    const { launch } = device;
    device.launch = (kernel, ...rest) => {
      launched.push(kernel.name);
      launch.call(device, kernel, ...rest);
    };
  });

  test.each(largeCases())('$name', ({ def, compute, make }) =>
    withBackend(reference, async () => {
      using _ = scope();
      const [inputs, attrs] = make(seededGen(1, reference));
      await checkParity(def, inputs, attrs, backend(), { compute });
    }),
  );

  test('tensor cores took bf16 heads of 64 and 128, and the vocabulary came in two chunks', () => {
    expect(launched).toContain('attention_bf16_mma64');
    expect(launched).toContain('attention_bf16_mma128');
    expect(launched.filter((entry) => entry.endsWith('_carry'))).toHaveLength(
      2 * 2 + (2 * packetEnds.length + 4 * 2) + 2 * (3 * 2 + 2 + 2 * 2 + weightDTypes.length),
    );
  });
});
