// A process of its own that loads one model or tokenizer file and prints how much memory that took:
//   node test/support/load.ts tokenizer|checkpoint|safetensors FILE
import { readFileSync } from 'node:fs';
import { FormatError } from '../../engine/file.ts';
import { SafetensorsFile } from '../../engine/safetensors.ts';
import { openCheckpoint } from '../../models/checkpoint/index.ts';
import { openTokenizer, type Tokenizer } from '../../models/tokenizer/index.ts';

/** What a load came to. */
export interface Load {
  /** The most the process held, less what it held before, with the code in memory but no file opened. */
  bytes: number;
  /** Why the file was refused. */
  refused?: string;
}

function use(tokenizer: Tokenizer): void {
  tokenizer.decode(tokenizer.encode('The film was naïve 🙂'));
  tokenizer.encode(' not bad', { continuation: true });
}

const kinds: Record<string, (path: string) => Promise<void>> = {
  async tokenizer(path) {
    use(await openTokenizer(path));
  },
  async checkpoint(path) {
    const checkpoint = await openCheckpoint(path);
    if (checkpoint.format === 'gguf') use(await checkpoint.tokenizer());
    for (const name of checkpoint.tensors.keys()) await checkpoint.read(name);
    await checkpoint.close();
  },
  async safetensors(path) {
    await using file = await SafetensorsFile.open(path);
    for (const name of file.tensors.keys()) await file.read(name);
  },
};

/** The most memory this process held. Linux counts what its parent held at the fork in `maxRSS`, not so in VmHWM. */
function peak(): number {
  if (process.platform !== 'linux') return process.resourceUsage().maxRSS * 1024;
  const [, kibibytes] = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync('/proc/self/status', 'utf8')) as RegExpExecArray;
  return Number(kibibytes) * 1024;
}

const [kind, path] = process.argv.slice(2);
process.on('warning', () => {});
const start = process.memoryUsage.rss();
let refused: string | undefined;
try {
  await kinds[kind](path);
} catch (error) {
  if (!(error instanceof FormatError)) throw error;
  refused = error.message;
}
const load: Load = { bytes: peak() - start, refused };
console.log(JSON.stringify(load));
