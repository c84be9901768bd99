// The CUDA kernels on the simulator, and on a GPU where there is one, at sizes that the derived suite does not reach; in mode
// `full` (`npm run test:cuda`) with shifted inputs as well.
import { beforeAll, expect, test } from 'vitest';
import { weightDTypes } from '../../engine/dtype.ts';
import { createReferenceBackend, scope, withBackend } from '../../engine/index.ts';
import { describeCuda } from '../support/cudaDevices.ts';
import { seededGen } from '../support/gen.ts';
import { packetEnds } from '../support/largeCases/case.ts';
import { largeCases } from '../support/largeCases/index.ts';
import { checkParity, operandsOf } from '../support/parity.ts';

const reference = createReferenceBackend();
const shifts = process.env.MODE === 'full' ? [0, 1] : [0];

for (const target of [75, 80] as const) {
  describeCuda(`large cases for sm_${target}`, target, (backend) => {
    const launched: string[] = [];
    beforeAll(() => {
      const { device } = backend();
      const { launch } = device;
      device.launch = (kernel, ...rest) => {
        launched.push(kernel.name);
        launch.call(device, kernel, ...rest);
      };
    });

    const cases = largeCases(target).flatMap((c) => shifts.map((shift) => ({ ...c, shift })));
    test.each(cases)('$name, shifted by $shift', ({ def, compute, make, shift }) =>
      withBackend(reference, async () => {
        using _ = scope();
        const [inputs, attrs] = make(seededGen(1, reference));
        await checkParity(def, inputs, attrs, backend(), { compute, shift, operands: operandsOf(target) });
      }),
    );

    test.runIf(target >= 80)(
      'tensor cores took bf16 heads of 64 and 128, and the vocabulary came in two chunks',
      () => {
        expect(launched).toContain('attention_bf16_mma64');
        expect(launched).toContain('attention_bf16_mma128');
        expect(launched.filter((entry) => entry.endsWith('_carry'))).toHaveLength(
          shifts.length *
            (2 * 2 +
              (2 * packetEnds.length + 4 * 2) +
              1 +
              2 * (3 * 2 + 2 + 2 * 2 + 1 + 1 + 15 * 2 + weightDTypes.length)),
        );
      },
    );
  });
}
