// `npm run bench:step`: training steps, label evaluation and generation on a model, each in a process of its own: how soon
// it is ready, how many reviews and tokens a second, the most memory the process held, and where the time went by op.
//
//   npm run bench:step -- [lora|lora-all|prompt|eval|generate …] [--model NAME|PATH] [--data FILE] [--batch N] [--length N]
//                         [--steps N] [--threads N] [--no-revectorize] [--int16] [--recompute] [--no-share-prefix] [--json FILE]
//
// Without --data, reviews are random tokens: all of full length, always the same ones.
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { profileLines } from '../cli/profile.ts';
import { machine, printMachine, printTable, writeJson } from './report.ts';
import { type Measured, measure, type Settings, workloads } from './workloads.ts';

const { values: flags, positionals } = parseArgs({
  allowPositionals: true,
  allowNegative: true,
  options: {
    model: { type: 'string', default: 'smollm2-135m-instruct-q4_1' },
    data: { type: 'string' },
    batch: { type: 'string', default: '8' },
    length: { type: 'string', default: '256' },
    steps: { type: 'string', default: '5' },
    threads: { type: 'string' },
    revectorize: { type: 'boolean', default: true },
    int16: { type: 'boolean', default: false },
    recompute: { type: 'boolean', default: false },
    'share-prefix': { type: 'boolean', default: true },
    json: { type: 'string' },
    child: { type: 'string' },
  },
});

const settings: Settings = {
  model: flags.model,
  data: flags.data,
  batch: Number(flags.batch),
  length: Number(flags.length),
  steps: Number(flags.steps),
  threads: flags.threads === undefined ? undefined : Number(flags.threads),
  revectorize: flags.revectorize,
  products: flags.int16 ? 'int16' : 'f32',
  recompute: flags.recompute,
  sharePrefix: flags['share-prefix'],
};

/** Runs one workload in a fresh process, so that the memory it holds is its own. */
function inOwnProcess(workload: string): Measured {
  console.error(`measuring ${workload} …`);
  const args = [fileURLToPath(import.meta.url), ...process.argv.slice(2), '--child', workload];
  const child = spawnSync(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'], encoding: 'utf8' });
  if (child.status !== 0) throw new Error(`${workload} ended with status ${child.status ?? child.signal}`);
  return JSON.parse(child.stdout) as Measured;
}

function print(m: Measured): void {
  console.log(`\nwhere the time of ${m.workload} goes (one ${m.unit}, with a clock around every op)`);
  for (const line of profileLines(m.ops)) console.log(line);
}

async function main(): Promise<void> {
  const names = positionals.length > 0 ? positionals : Object.keys(workloads);
  for (const name of names) {
    if (!Object.hasOwn(workloads, name)) {
      throw new Error(`there is no workload ${name}; there are ${Object.keys(workloads).join(', ')}`);
    }
  }
  const where = machine();
  printMachine(where);
  const results = names.map(inOwnProcess);
  console.log(`\n${results[0].backend}; ${settings.batch} reviews a batch, ${results[0].longest} tokens the longest\n`);
  printTable(
    [
      'workload',
      'ready, s',
      'unit',
      's/unit',
      'fastest',
      'reviews/s',
      'tokens/s',
      'computed/s',
      'peak MB',
      'of it tensors',
    ],
    results.map((m) => [
      m.workload,
      m.ready,
      m.unit,
      m.seconds,
      m.fastest,
      m.reviews / m.seconds || undefined,
      m.tokens / m.seconds,
      m.computed / m.seconds,
      m.peakBytes / 1e6,
      m.tensorBytes / 1e6,
    ]),
  );
  console.log('ready: from the start of the process, with kernels, model, reviews, plan and adapter in place.');
  console.log('tokens: of every review with its prompt; computed: those that were, a shared prefix once.');
  for (const m of results) print(m);
  await writeJson(flags.json, { machine: where, settings, results });
}

if (flags.child === undefined) await main();
else console.log(JSON.stringify(await measure(flags.child, settings)));
