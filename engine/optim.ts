import { accumulate, fill } from './ops/elementwise.ts';
import { reshape } from './ops/move.ts';
import { adamwStep, globalNorm, sgdStep, stateSize, stateSlot } from './ops/optimizer.ts';
import { type FlatParameters, viewAt } from './parameters.ts';
import { noGrad, scope } from './scope.ts';
import { formatShape } from './shape.ts';
import { type Tensor, tensor, zeros } from './tensor.ts';

/** Settings of their own for the parameters that `match`; the first group that matches counts. */
export interface ParameterGroup {
  match(name: string): boolean;
  weightDecay?: number;
  /** Multiplies the learning rate. */
  lrScale?: number;
}

export interface OptimizerOptions {
  weightDecay?: number;
  /** Gradients of a larger L2 norm, over all parameters, are scaled down to it. Default: never. */
  maxNorm?: number;
  groups?: readonly ParameterGroup[];
}

interface RangeSettings {
  weightDecay: number;
  lrScale: number;
}

/** What the device knows after a step. */
export interface StepReport {
  loss: number;
  /** L2 norm of the gradient before clipping. */
  norm: number;
  /** Norm or loss of this or an earlier step was not finite; nothing has changed since. */
  bad: boolean;
}

/**
 * What AdamW and SGD share. A step never waits for the device:
 * ```
 * optimizer.zeroGrad();
 * for (const part of parts) { …; backward(loss); optimizer.addLoss(loss); }
 * optimizer.step(lr);
 * const report = optimizer.snapshot();   // awaited while the next step runs
 * ```
 */
export abstract class Optimizer {
  readonly parameters: FlatParameters;
  readonly #state: Tensor;
  readonly #slots: Record<'rates' | 'loss' | 'bad', Tensor>;
  readonly #maxNorm: number;
  readonly #ranges: { from: number; settings: RangeSettings; views: Tensor[] }[];
  readonly #moments: Map<string, Tensor>;
  #steps = 0;

  /** @param moments names (torch's) of the flat tensors that a step keeps beside each parameter */
  protected constructor(
    parameters: FlatParameters,
    moments: string[],
    { weightDecay = 0, maxNorm = Number.POSITIVE_INFINITY, groups = [] }: OptimizerOptions,
  ) {
    const { backend } = parameters.values;
    this.parameters = parameters;
    this.#maxNorm = maxNorm;
    this.#state = zeros([stateSize], { backend }).persist();
    this.#slots = {
      rates: viewAt(this.#state, stateSlot.lr, [3]),
      loss: viewAt(this.#state, stateSlot.loss, []),
      bad: viewAt(this.#state, stateSlot.bad, []),
    };
    this.#moments = new Map(moments.map((name) => [name, zeros([parameters.size], { backend }).persist()]));
    const flat = [parameters.values, parameters.grad, ...this.#moments.values()];
    const rest: ParameterGroup = { match: () => true };
    this.#ranges = parameters
      .ranges((name) => groups.find((g) => g.match(name)) ?? rest)
      .map(({ from, to, value: group }) => ({
        from,
        settings: { weightDecay: group.weightDecay ?? weightDecay, lrScale: group.lrScale ?? 1 },
        views: flat.map((t) => viewAt(t, from, [to - from])),
      }));
  }

  /** Steps taken. */
  get steps(): number {
    return this.#steps;
  }

  /** Clears gradients and loss. */
  zeroGrad(): void {
    this.parameters.zeroGrad();
    fill(this.#slots.loss, 0);
  }

  /** Adds a micro-batch's loss (one element) to what the step reports and its guard looks at. */
  addLoss(loss: Tensor): void {
    using _ = scope();
    noGrad(() => accumulate(this.#slots.loss, reshape(loss, [])));
  }

  /**
   * One step with this learning rate, unless norm or loss is not finite or was not in an earlier step.
   * @throws Error naming parameters that got no gradient since `zeroGrad`
   */
  step(lr: number): void {
    this.parameters.assertGradients();
    this.#steps++;
    this.#slots.rates.set([lr, ...this.biasCorrections(this.#steps)]);
    globalNorm(this.parameters.grad, this.#state, { maxNorm: this.#maxNorm });
    for (const { views, settings } of this.#ranges) this.update(views, this.#state, settings);
  }

  /** Loss, norm and flag of the step just taken; read before the next `zeroGrad`, awaited whenever. */
  async snapshot(): Promise<StepReport> {
    const state = await this.#state.data();
    return { loss: state[stateSlot.loss], norm: state[stateSlot.norm], bad: state[stateSlot.bad] !== 0 };
  }

  /** Lets steps change parameters again. */
  clearFlag(): void {
    fill(this.#slots.bad, 0);
  }

  /** Moments by `parameter.moment` and the number of steps: what a checkpoint holds. Views that belong to no scope. */
  stateDict(): Map<string, Tensor> {
    const { backend } = this.#state;
    const state = new Map([['step', tensor(Int32Array.of(this.#steps), [1], { dtype: 'i32', backend }).persist()]]);
    for (const [moment, flat] of this.#moments) {
      for (const [name, view] of this.parameters.views(flat)) state.set(`${name}.${moment}`, view);
    }
    return state;
  }

  /** @throws Error naming a tensor that is missing, unexpected or of another shape; then nothing is loaded */
  async loadStateDict(state: ReadonlyMap<string, Tensor>): Promise<void> {
    const own = this.stateDict();
    try {
      for (const name of new Set([...own.keys(), ...state.keys()])) {
        const [expected, found] = [own.get(name), state.get(name)].map((t) => t && formatShape(t.shape));
        if (expected !== found) {
          throw new Error(
            `optimizer state: ${name} is ${found ?? 'missing'}, expected ${expected ?? 'no such tensor'}`,
          );
        }
      }
      for (const [name, target] of own) target.set(await (state.get(name) as Tensor).data());
      this.#steps = await (own.get('step') as Tensor).item();
    } finally {
      for (const t of own.values()) t.dispose();
    }
  }

  /** Frees moments and state, not the parameters. */
  dispose(): void {
    for (const { views } of this.#ranges) for (const t of views) t.dispose();
    for (const t of [...this.#moments.values(), ...Object.values(this.#slots), this.#state]) t.dispose();
  }

  protected abstract biasCorrections(step: number): [number, number];
  /** Updates one range; `views` are parameters, gradient and moments. */
  protected abstract update(views: Tensor[], state: Tensor, settings: RangeSettings): void;
}

export interface AdamWOptions extends OptimizerOptions {
  beta1?: number;
  beta2?: number;
  eps?: number;
}

/** torch.optim.AdamW; weight decay is 0 unless given (torch's default is 0.01). */
export class AdamW extends Optimizer {
  readonly #attrs: { beta1: number; beta2: number; eps: number };

  constructor(parameters: FlatParameters, { beta1 = 0.9, beta2 = 0.999, eps = 1e-8, ...options }: AdamWOptions = {}) {
    super(parameters, ['exp_avg', 'exp_avg_sq'], options);
    this.#attrs = { beta1, beta2, eps };
  }

  protected biasCorrections(step: number): [number, number] {
    return [1 - this.#attrs.beta1 ** step, 1 - this.#attrs.beta2 ** step];
  }

  protected update([p, g, m, v]: Tensor[], state: Tensor, settings: RangeSettings): void {
    adamwStep(p, g, m, v, state, { ...this.#attrs, ...settings });
  }
}

export interface SGDOptions extends OptimizerOptions {
  momentum?: number;
  nesterov?: boolean;
}

/** torch.optim.SGD with dampening 0. */
export class SGD extends Optimizer {
  readonly #attrs: { momentum: number; nesterov: boolean };

  constructor(parameters: FlatParameters, { momentum = 0, nesterov = false, ...options }: SGDOptions = {}) {
    super(parameters, ['momentum_buffer'], options);
    this.#attrs = { momentum, nesterov };
  }

  protected biasCorrections(): [number, number] {
    return [1, 1];
  }

  protected update([p, g, buffer]: Tensor[], state: Tensor, settings: RangeSettings): void {
    sgdStep(p, g, buffer, state, { ...this.#attrs, ...settings });
  }
}
