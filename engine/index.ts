export { backward, grad } from './autograd.ts';
export { assertComputes, type Backend, MissingKernelError, OutOfMemoryError } from './backend.ts';
export { type CudaBackend, type CudaOptions, createCudaBackend } from './backends/cuda.ts';
export { createReferenceBackend } from './backends/reference.ts';
export { createWasmBackend, type WasmOptions } from './backends/wasm.ts';
export { type ComputeDType, type DType, dtypes, isQuantized, type WeightDType } from './dtype.ts';
export { Linear, Module } from './module.ts';
export { type Gen, type Launch, type OpDef, op, registry, type Spec } from './op.ts';
export * from './ops/activation.ts';
export * from './ops/attention.ts';
export * from './ops/cache.ts';
export * from './ops/compare.ts';
export { type DropoutAttrs, dropout } from './ops/dropout.ts';
export * from './ops/elementwise.ts';
export * from './ops/gather.ts';
export * from './ops/linear.ts';
export * from './ops/linearLoss.ts';
export * from './ops/lora.ts';
export { crossEntropy } from './ops/loss.ts';
export * from './ops/matmul.ts';
export * from './ops/move.ts';
export * from './ops/norm.ts';
export * from './ops/quant.ts';
export * from './ops/reduce.ts';
export * from './ops/rope.ts';
export * from './ops/softmax.ts';
export * from './ops/swiglu.ts';
export * from './optim.ts';
export { FlatParameters } from './parameters.ts';
export { Profile, type ProfileEntry } from './profile.ts';
export { philox4x32, Rng, type RngState } from './random.ts';
export { recompute } from './recompute.ts';
export * from './schedule.ts';
export {
  type Context,
  context,
  noGrad,
  type Observer,
  Scope,
  scope,
  scoped,
  setBackend,
  withBackend,
  withContext,
} from './scope.ts';
export { type AttentionPlan, attentionPlan, Forest } from './segments.ts';
export { type Shape, ShapeError } from './shape.ts';
export { memory, resetPeak } from './storage.ts';
export {
  arange,
  empty,
  fromBytes,
  full,
  ones,
  parameter,
  Tensor,
  type TensorOptions,
  tensor,
  zeros,
} from './tensor.ts';
