// An ONNX model of one linear layer, as exporters write it: `Gemm` with the transposed weight as initializer, which lets a
// runtime pack it once when the session is made. Protocol Buffers' wire format: key = field number · 8 + wire type.
import type { Product } from './products.ts';

const VARINT = 0;
const LENGTH = 2;

function varint(n: number): number[] {
  return n < 128 ? [n] : [(n % 128) | 128, ...varint(Math.floor(n / 128))];
}

const number = (field: number, n: number): Buffer => Buffer.from([...varint(field * 8 + VARINT), ...varint(n)]);
const bytes = (field: number, ...parts: Uint8Array[]): Buffer => {
  const body = Buffer.concat(parts);
  return Buffer.concat([Buffer.from([...varint(field * 8 + LENGTH), ...varint(body.length)]), body]);
};
const text = (field: number, s: string): Buffer => bytes(field, Buffer.from(s));

/** TensorProto.DataType */
const FLOAT = 1;
/** AttributeProto.AttributeType */
const INT = 2;

/** ValueInfoProto of a float matrix. */
function valueInfo(field: number, name: string, shape: readonly number[]): Buffer {
  const dims = shape.map((n) => bytes(1, number(1, n)));
  const tensorType = bytes(1, number(1, FLOAT), bytes(2, ...dims));
  return bytes(field, text(1, name), bytes(2, tensorType));
}

/** A model with input `x` [M, K] and output `y` [M, N] = x · Wᵀ, W [N, K]. */
export function linearModel({ M, N, K }: Product, w: Float32Array): Uint8Array {
  const transB = bytes(5, text(1, 'transB'), number(3, 1), number(20, INT));
  const node = bytes(1, text(1, 'x'), text(1, 'w'), text(2, 'y'), text(4, 'Gemm'), transB);
  const raw = new Uint8Array(w.buffer, w.byteOffset, w.byteLength);
  const weight = bytes(5, number(1, N), number(1, K), number(2, FLOAT), text(8, 'w'), bytes(9, raw));
  const graph = [node, text(2, 'linear'), weight, valueInfo(11, 'x', [M, K]), valueInfo(12, 'y', [M, N])];
  const irVersion = number(1, 8);
  const opset = bytes(8, number(2, 17));
  return Buffer.concat([irVersion, bytes(7, ...graph), opset]);
}
