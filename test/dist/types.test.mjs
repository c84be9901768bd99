// The types of dist/ as a strict TypeScript project sees them that checks its libraries' declarations too.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';

const program = `
import { AdamW, createWasmBackend, type Tensor } from 'lorikeet/engine';
import { LlamaModel, openCheckpoint, type Tokenizer } from 'lorikeet/models';
import { defaultLora, PeftModel, type StepEvent, train } from 'lorikeet/peft';

export async function run(path: string): Promise<StepEvent | undefined> {
  const backend = await createWasmBackend();
  const checkpoint = await openCheckpoint(path);
  const tokenizer: Tokenizer = await checkpoint.tokenizer();
  const peft = new PeftModel(await LlamaModel.load(checkpoint, backend));
  const weights: [string, Tensor][] = peft.namedParameters();
  const example = { index: 0, shared: [], prompt: tokenizer.encode('a'), answer: [1], cut: false };
  // @ts-expect-error a learning rate is a number
  for await (const event of train(peft, [example], { lr: 'high' })) return event;
  console.log(AdamW.name, defaultLora.r, weights.length);
}
`;
const settings = {
  compilerOptions: {
    module: 'nodenext',
    target: 'es2023',
    strict: true,
    noEmit: true,
    skipLibCheck: false,
    types: ['node'],
  },
};

test('declarations resolve under moduleResolution nodenext', () => {
  // Inside the package, whose own name then resolves through its exports.
  const folder = mkdtempSync('dist/types-');
  try {
    writeFileSync(`${folder}/run.ts`, program);
    writeFileSync(`${folder}/tsconfig.json`, JSON.stringify(settings));
    const { status, stdout } = spawnSync(process.execPath, ['node_modules/typescript/bin/tsc', '-p', folder], {
      encoding: 'utf8',
    });
    assert.equal(status, 0, stdout);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
