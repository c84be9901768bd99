import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync, truncateSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { beforeAll, describe, expect, it } from 'vitest';
import { Rng } from '../../engine/index.ts';
import { jsonLines, lorikeet, workFolder } from '../support/cli.ts';

const { path } = workFolder();
const options = [
  ...['--prompt', 'none', '--max-length', '40', '--dropout', '0.1', '--schedule', 'cosine', '--warmup', '0.1'],
  ...['--batch-size', '8', '--micro-batch', '4', '--epochs', '12', '--save-every', '2', '--lr', '0.01'],
];
const trainArgs = (out: string) => [
  ...['train', '--model', path('model'), '--data', path('data.jsonl'), '--out', path(out), '--threads', '2'],
  ...options,
];

/** Steps of the complete checkpoints of a run, ascending. */
const checkpoints = (out: string): number[] => {
  const folder = path(out, 'checkpoints');
  const names = existsSync(folder) ? readdirSync(folder) : [];
  return names.flatMap((name) => /^step-(\d+)$/.exec(name)?.[1] ?? []).map(Number);
};

/** Trains until `kill -9`: where LORIKEET_KILL says, or so many milliseconds after the second checkpoint. */
async function trainAndDie(out: string, kill: string | number): Promise<void> {
  const preload = new URL('../support/kill.mjs', import.meta.url).href;
  const main = join(import.meta.dirname, '..', '..', 'cli', 'main.ts');
  const own = typeof kill === 'string';
  const child = spawn(process.execPath, [...(own ? ['--import', preload] : []), main, ...trainArgs(out)], {
    stdio: 'ignore',
    env: { ...process.env, LORIKEET_KILL: String(kill) },
  });
  const ended = once(child, 'exit');
  if (!own) {
    while (checkpoints(out).length < 2 && child.exitCode === null) await setTimeout(2);
    await setTimeout(kill);
    child.kill('SIGKILL');
  }
  const [, signal] = await ended;
  expect(signal).toBe('SIGKILL');
}

const columns = (out: string) =>
  jsonLines(path(out, 'metrics.jsonl')).map(({ step, loss, gradNorm, lr }) => ({ step, loss, gradNorm, lr }));
const adapter = (out: string): Buffer => readFileSync(path(out, 'adapter', 'adapter_model.safetensors'));

const rng = new Rng(2026);
/** Every checkpoint of the 18 has three renames: its tensors, its description, the folder. The second is complete at 6. */
const moments: [string, string | number][] = [
  ['before a checkpoint’s tensors are in place', `rename:${4 + 3 * (1 + rng.int(8))}`],
  ['between a checkpoint’s files', `rename:${5 + 3 * (1 + rng.int(8))}`],
  ['before a checkpoint’s folder is in place', `rename:${6 + 3 * (1 + rng.int(8))}`],
  ...Array.from({ length: 3 }, (_, i): [string, string] => [
    `between two micro-batches (${i + 1})`,
    `microbatch:${9 + 2 * rng.int(25)}`,
  ]),
  ...Array.from({ length: 4 }, (_, i): [string, number] => [`at any time (${i + 1})`, rng.int(60)]),
];

describe('a training that was killed and is resumed with another number of threads', () => {
  beforeAll(() => {
    const whole = lorikeet(trainArgs('whole'));
    expect(whole.stderr + whole.code).toMatch(/0$/);
    expect(columns('whole')).toHaveLength(36);
  });

  it.each(moments)('%s', async (name, kill) => {
    const out = name.replaceAll(/\W+/g, '-');
    await trainAndDie(out, kill);
    const last = Math.max(...checkpoints(out));
    expect(last).toBeGreaterThan(0);
    expect(last).toBeLessThan(36);
    if (String(kill).startsWith('rename')) {
      expect(readdirSync(path(out, 'checkpoints')), 'a checkpoint half written').toContain(
        `.step-${String(last + 2).padStart(6, '0')}.tmp`,
      );
    }
    const threads = String(1 + 2 * (last % 2));
    const resumed = lorikeet(['train', '--resume', '--out', path(out), '--threads', threads]);
    expect(resumed.stderr + resumed.code).toMatch(/0$/);
    expect(resumed.stdout).toContain(`resuming after step ${last} of 36`);
    expect(columns(out)).toEqual(columns('whole'));
    expect(adapter(out).equals(adapter('whole')), 'adapter bytes').toBe(true);
  });

  it('passes over a checkpoint that is damaged', async () => {
    await trainAndDie('damaged', 'rename:31');
    const [before, last] = checkpoints('damaged');
    const damaged = path('damaged', 'checkpoints', `step-${String(last).padStart(6, '0')}`);
    truncateSync(join(damaged, 'state.safetensors'), 1000);
    const resumed = lorikeet(['train', '--resume', '--out', path('damaged')]);
    expect(resumed.stderr).toContain(`${damaged} is damaged and passed over`);
    expect(resumed.stdout).toContain(`resuming after step ${before} of 36`);
    expect(columns('damaged')).toEqual(columns('whole'));
    expect(adapter('damaged').equals(adapter('whole')), 'adapter bytes').toBe(true);
  });
});
