/** Learning rate as a pure function of the step, so that resuming needs no state of it. */
export type Schedule = (step: number) => number;

export interface ScheduleOptions {
  kind: 'constant' | 'linear' | 'cosine';
  /** The peak. */
  lr: number;
  /** Steps from 0 to the peak, linearly. */
  warmup: number;
  /** Steps of the whole run. */
  steps: number;
}

/**
 * transformers' `get_constant_schedule_with_warmup`, `get_linear_schedule_with_warmup` (down to 0 at `steps`) and
 * `get_cosine_schedule_with_warmup` (half a period, down to 0). The first step is step 0.
 * @throws RangeError unless 0 ≤ warmup ≤ steps
 */
export function schedule({ kind, lr, warmup, steps }: ScheduleOptions): Schedule {
  if (!(warmup >= 0 && warmup <= steps)) {
    throw new RangeError(`schedule: warmup must be between 0 and the ${steps} steps of the run, found ${warmup}`);
  }
  const decay = {
    constant: () => 1,
    linear: (progress: number) => 1 - progress,
    cosine: (progress: number) => 0.5 * (1 + Math.cos(Math.PI * progress)),
  }[kind];
  return (step) => {
    if (step < warmup) return (lr * step) / warmup;
    return lr * decay(Math.min(1, (step - warmup) / Math.max(1, steps - warmup)));
  };
}
