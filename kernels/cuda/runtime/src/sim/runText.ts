/**
 * The JavaScript of a run in the making: statements before the loop over lanes, in it, and after it. In the loop `l` is the
 * lane, `bit` its mask bit, `w` the warp, and `b`, `b2`, `bd` index the register file for 32-bit, 64-bit and f64 rows.
 */
export class RunText {
  readonly head: string[] = [];
  readonly body: string[] = [];
  readonly tail: string[] = [];
  /** Statements of the guarded instruction that is being written. */
  #inner: string[] | undefined;
  #guard = '';
  readonly #shared = new Map<string, string>();
  #names = 0;

  name(): string {
    return `v${this.#names++}`;
  }

  get guarded(): boolean {
    return this.#inner !== undefined;
  }

  beginGuard(condition: string): void {
    this.#guard = condition;
    this.#inner = [];
  }

  endGuard(): void {
    if (this.#inner === undefined) return;
    this.body.push(`if (${this.#guard}) {`, ...this.#inner, '}');
    this.#inner = undefined;
  }

  /** Emits a statement of the current instruction. */
  line(text: string): void {
    (this.#inner ?? this.body).push(text);
  }

  /** Names an expression, so that it is evaluated once. */
  temp(expression: string): string {
    const name = this.name();
    this.line(`const ${name} = ${expression};`);
    return name;
  }

  /** Names an expression that is the same in all lanes and evaluates it before the loop. */
  uniform(expression: string): string {
    return this.#once(expression, this.head);
  }

  /** Names an expression of the lane that does not change within the run. */
  constant(expression: string): string {
    return this.#once(expression, this.body);
  }

  #once(expression: string, into: string[]): string {
    let name = this.#shared.get(expression);
    if (name === undefined) {
      name = this.name();
      into.push(`const ${name} = ${expression};`);
      this.#shared.set(expression, name);
    }
    return name;
  }

  /** The loop over the active lanes, with what stands before and after it; without the loop when that is empty. */
  code(): string[] {
    if (this.body.length === 0) return [...this.head, ...this.tail];
    return [
      ...this.head,
      'for (let l = 0, bit = 1; l < 32; l++, bit <<= 1) {',
      'if ((mask & bit) === 0) continue;',
      'const b = base + l, b2 = b + l, bd = (base >> 1) + l;',
      ...this.body,
      '}',
      ...this.tail,
    ];
  }
}
