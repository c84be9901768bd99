import { PtxError } from './ptx.ts';

const scratch = new DataView(new ArrayBuffer(8));

/** Value of an integer literal (`12`, `017`, `0x1fU`, `0b101`). */
export function integerLiteral(text: string): bigint {
  const digits = text.replace(/U$/, '');
  return /^0[0-7]+$/.test(digits) ? BigInt(`0o${digits.slice(1)}`) : BigInt(digits);
}

/** Value of `0f3F800000` (with its bits), `0d3FF0…` or a decimal literal. */
export function floatLiteral(text: string): { value: number; bits?: number } {
  if (/^0[fF]/.test(text) && text.length === 10) {
    const bits = Number.parseInt(text.slice(2), 16) | 0;
    scratch.setInt32(0, bits);
    return { value: scratch.getFloat32(0), bits };
  }
  if (/^0[dD]/.test(text) && text.length === 18) {
    scratch.setBigUint64(0, BigInt(`0x${text.slice(2)}`));
    return { value: scratch.getFloat64(0) };
  }
  return { value: Number(text) };
}

/** Bytes of a type that a variable can be declared with (`.b8` … `.f64`). */
export function typeBytes(type: string, line: number): number {
  const match = /^\.?[bsuf](8|16|32|64)$/.exec(type);
  if (match !== null) return Number(match[1]) / 8;
  const special: Record<string, number> = { f16: 2, bf16: 2, f16x2: 4, bf16x2: 4, b128: 16 };
  const bytes = special[type.replace('.', '')];
  if (bytes === undefined) throw new PtxError(line, `unsupported type ${type}`);
  return bytes;
}

/** Writes an initialiser's element. */
export function writeElement(
  view: DataView,
  offset: number,
  type: string,
  value: bigint | { value: number; bits?: number },
): void {
  const bytes = typeBytes(type, 0);
  if (typeof value !== 'bigint') {
    if (bytes === 8) view.setFloat64(offset, value.value, true);
    else if (value.bits !== undefined) view.setInt32(offset, value.bits, true);
    else view.setFloat32(offset, value.value, true);
  } else if (type === '.f64') view.setFloat64(offset, Number(value), true);
  else if (type === '.f32') view.setFloat32(offset, Number(value), true);
  else {
    for (let i = 0; i < bytes; i++) view.setUint8(offset + i, Number((value >> BigInt(8 * i)) & 0xffn));
  }
}
