import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'vitest';
import { openTokenizer } from '../../models/tokenizer/index.ts';
import { Classification } from '../../peft/task.ts';
import { itWithData } from '../support/data.ts';

itWithData(
  'prompt none: a text that opens the sequence is encoded as the whole of it',
  'data/models/stories260K',
  async (path) => {
    const tokenizer = await openTokenizer(join(path, 'tok512.model'));
    const task = new Classification([], { prompt: 'none', instruction: '', maxLength: 256 }, tokenizer);
    const prompt = (text: string): number[] => [...task.prompt(text).shared, ...task.prompt(text).prompt];
    const { greedy_ids: ids } = JSON.parse(readFileSync(join(path, 'expected.json'), 'utf8'));
    expect(prompt('Once upon a time')).toEqual(ids.slice(0, 5));
    expect(prompt('')).toEqual(tokenizer.encode(''));
  },
);
