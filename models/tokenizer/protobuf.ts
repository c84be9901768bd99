/** Walks the fields of a protobuf message (protobuf.dev, "Encoding") without allocating for each: a model has 100,000. */
export class Fields {
  /** Number of the field that `next` came to. */
  field = 0;
  /** Value of a varint, fixed32 (as float) or fixed64 (as double) field. */
  number = 0;
  readonly #message: Uint8Array;
  readonly #view: DataView;
  readonly #bad: (message: string) => Error;
  #at = 0;
  #start = 0;
  #delimited = false;

  /** `bad` makes the error for a message that is cut short. */
  constructor(message: Uint8Array, bad: (message: string) => Error) {
    this.#message = message;
    this.#view = new DataView(message.buffer, message.byteOffset, message.byteLength);
    this.#bad = bad;
  }

  /** Goes to the next field; false at the end. */
  next(): boolean {
    if (this.#at >= this.#message.length) return false;
    const tag = this.#varint();
    this.field = Math.floor(tag / 8);
    const type = tag % 8;
    this.#delimited = type === 2;
    if (type === 0) this.number = this.#varint();
    else if (type === 1) this.number = this.#view.getFloat64(this.#take(8), true);
    else if (type === 5) this.number = this.#view.getFloat32(this.#take(4), true);
    else if (type === 2) this.#start = this.#take(this.#varint());
    else throw this.#bad(`wire type ${type} at byte ${this.#at}`);
    return true;
  }

  /** Bytes of the length-delimited field that `next` came to; undefined if it is of another type. */
  get bytes(): Uint8Array | undefined {
    return this.#delimited ? this.#message.subarray(this.#start, this.#at) : undefined;
  }

  /** An unsigned integer, exact below 2⁵³; negative int64 values, which are above 2⁶³, come out as -1. */
  #varint(): number {
    let value = 0;
    for (let scale = 1; scale < 2 ** 64; scale *= 128) {
      if (this.#at >= this.#message.length) throw this.#bad('a number is cut short');
      const byte = this.#message[this.#at++];
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value >= 2 ** 63 ? -1 : value;
    }
    throw this.#bad(`a number of more than 10 bytes at byte ${this.#at}`);
  }

  #take(length: number): number {
    if (length < 0 || length > this.#message.length - this.#at) {
      throw this.#bad(`a field of ${length} bytes where ${this.#message.length - this.#at} are left`);
    }
    this.#at += length;
    return this.#at - length;
  }
}
