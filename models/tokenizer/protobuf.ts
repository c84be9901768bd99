/** A protobuf field: `bytes` of a length-delimited one, `number` of any other. */
export interface Field {
  field: number;
  number: number;
  bytes?: Uint8Array;
}

/** The fields of a protobuf message, in order (protobuf.dev, "Encoding"). @throws what `bad` makes of a message that is cut short. */
export function* fields(message: Uint8Array, bad: (message: string) => Error): Generator<Field> {
  const view = new DataView(message.buffer, message.byteOffset, message.byteLength);
  let at = 0;
  const varint = () => {
    let [value, scale] = [0n, 0n];
    for (;;) {
      const byte = message[at++];
      if (byte === undefined || scale > 63n) throw bad('a number is cut short');
      value |= BigInt(byte & 0x7f) << scale;
      scale += 7n;
      if (byte < 0x80) return Number(BigInt.asIntN(64, value));
    }
  };
  const take = (length: number) => {
    if (length < 0 || length > message.length - at)
      throw bad(`a field of ${length} bytes where ${message.length - at} are left`);
    at += length;
    return at - length;
  };
  while (at < message.length) {
    const tag = varint();
    const field = Math.floor(tag / 8);
    switch (tag % 8) {
      case 0:
        yield { field, number: varint() };
        break;
      case 1:
        yield { field, number: view.getFloat64(take(8), true) };
        break;
      case 2: {
        const length = varint();
        const start = take(length);
        yield { field, number: Number.NaN, bytes: message.subarray(start, start + length) };
        break;
      }
      case 5:
        yield { field, number: view.getFloat32(take(4), true) };
        break;
      default:
        throw bad(`wire type ${tag % 8}`);
    }
  }
}
