import { type Backend, type BufferRef, isReference, MissingKernelError } from './backend.ts';
import { type DType, isQuantized } from './dtype.ts';
import type { OpDef, Spec } from './op.ts';
import { dequantize } from './quant.ts';
import { context, scoped, withContext } from './scope.ts';
import { empty, type Tensor } from './tensor.ts';

/** Runs an op without recording and returns all its outputs. In-place ops return their input 0. */
export function execute<A>(def: OpDef<A>, inputs: Tensor[], attrs: A, needs: boolean[], kernelsOnly = false): Tensor[] {
  const backend = commonBackend(def.name, inputs);
  const specs: Spec[] = inputs.map(({ shape, dtype }) => ({ shape, dtype }));
  assertDTypes(def, specs);
  const outSpecs = def.outputs(specs, attrs, needs);
  const { observer } = context();
  const started = observer ? performance.now() : 0;
  let outputs: Tensor[];
  const view = def.view?.(specs[0], attrs);
  if (view) {
    outputs = [inputs[0].view(outSpecs[0].shape, view.element * elementBytes(inputs[0]))];
  } else {
    outputs = compute(def, backend, inputs, specs, outSpecs, attrs, needs, kernelsOnly);
  }
  observer?.({
    def: def as OpDef<never>,
    specs,
    attrs,
    outputs,
    ms: performance.now() - started,
  });
  return outputs;
}

function elementBytes(t: Tensor): number {
  if (isReference(t.backend) && t.dtype !== 'i32') return 8;
  return t.dtype === 'f16' || t.dtype === 'bf16' ? 2 : 4;
}

function compute<A>(
  def: OpDef<A>,
  backend: Backend,
  inputs: Tensor[],
  specs: Spec[],
  outSpecs: Spec[],
  attrs: A,
  needs: boolean[],
  kernelsOnly: boolean,
): Tensor[] {
  let cause: MissingKernelError | undefined;
  if (isReference(backend) ? def.reference : def.launch) {
    const outputs = def.inPlace ? inputs : outSpecs.map((s) => empty(s.shape, { dtype: s.dtype, backend }));
    try {
      if (isReference(backend)) runReference(def, inputs, outputs, specs, attrs, needs);
      else runLaunches(def, backend, inputs, outputs, specs, attrs, needs);
      return def.inPlace ? [inputs[0]] : outputs;
    } catch (error) {
      if (!def.inPlace) for (const t of outputs) t.dispose();
      if (!(error instanceof MissingKernelError) || kernelsOnly) throw error;
      cause = error;
    }
  }
  const made = kernelsOnly ? undefined : defined(def, inputs, attrs);
  if (made?.length !== outSpecs.length) {
    throw new Error(`${def.name} has neither a kernel nor a definition on backend ${backend.name}`, { cause });
  }
  return made;
}

/** What the op's definition makes, without recording. */
function defined<A>(def: OpDef<A>, inputs: Tensor[], attrs: A): Tensor[] | undefined {
  return scoped(() => withContext({ grad: false }, () => def.define && [def.define(inputs, attrs)].flat()));
}

function runReference<A>(
  def: OpDef<A>,
  inputs: Tensor[],
  outputs: Tensor[],
  specs: Spec[],
  attrs: A,
  needs: boolean[],
): void {
  const arrays = (t: Tensor): Float64Array => hostView(t, def.name);
  const written = outputs.map(arrays);
  if (!def.inPlace) for (const w of written) w.fill(0);
  def.reference?.(written, inputs.map(arrays), specs, attrs, needs);
}

function runLaunches<A>(
  def: OpDef<A>,
  backend: Backend,
  inputs: Tensor[],
  outputs: Tensor[],
  specs: Spec[],
  attrs: A,
  needs: boolean[],
): void {
  if (!def.inPlace && outputs.every((t) => t.size === 0)) return;
  const ref = (t: Tensor): BufferRef => ({
    handle: t.storage.handle,
    byteOffset: t.byteOffset,
  });
  for (const l of def.launch?.(specs, attrs, needs) ?? []) {
    const buffers = [
      ...l.outputs.map((i) => ref(outputs[i])),
      ...l.inputs.map((i) => ref(i < 0 ? outputs[-1 - i] : inputs[i])),
    ];
    backend.launch(l.kernel, buffers, l.ints ?? [], l.floats ?? [], l.work);
  }
}

/** The numbers of a tensor on the reference backend: in place for floats, decoded or widened copies otherwise. */
function hostView(t: Tensor, op: string): Float64Array {
  const { backend } = t;
  if (!isReference(backend)) throw new Error(`${op}: backend ${backend.name} has no host view`);
  const view = backend.view(t.storage.handle, t.dtype, t.byteOffset, t.size);
  if (view instanceof Float64Array) return view;
  if (isQuantized(t.dtype)) return dequantize(view as Uint8Array, t.dtype, t.size);
  return view as unknown as Float64Array;
}

function commonBackend(op: string, inputs: Tensor[]): Backend {
  for (const t of inputs) {
    t.assertAlive(op);
    if (t.backend !== inputs[0].backend) {
      throw new Error(
        `${op}: its inputs are on ${inputs[0].backend.name} and on ${t.backend.name}; nothing moves by itself`,
      );
    }
  }
  return inputs[0].backend;
}

/** @throws TypeError where an input has a type that none of the op's combinations has in its place */
function assertDTypes<A>({ name, dtypes, activations = [] }: OpDef<A>, specs: Spec[]): void {
  // Activations are bf16 together or not at all.
  const bf16 = activations.length > 0 && activations.every((i) => i >= specs.length || specs[i].dtype === 'bf16');
  for (const [i, { dtype }] of specs.entries()) {
    if (bf16 && activations.includes(i)) continue;
    // An op of any number of inputs lists a few of them.
    const beyond = dtypes.every((d) => i >= d.length);
    const inPlace = (d: DType[]): DType => d[beyond ? d.length - 1 : i];
    if (dtypes.some((d) => inPlace(d) === dtype)) continue;
    const expected = [...new Set(dtypes.map(inPlace).filter(Boolean))].join(' or ');
    throw new TypeError(`${name}: input ${i} is ${dtype}, expected ${expected}; nothing is converted by itself`);
  }
}
