import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { jsonLines, lorikeet, start, workFolder } from '../support/cli.ts';

const { path } = workFolder();
const trainTo = (out: string, threads: number): string[] => [
  ...['train', '--model', path('model'), '--data', path('data.jsonl'), '--out', path(out), '--prompt', 'none'],
  ...[
    '--epochs',
    '60',
    '--save-every',
    '7',
    '--schedule',
    'cosine',
    '--micro-batch',
    '4',
    '--threads',
    String(threads),
  ],
];

/** Steps that the run's metrics have so far. */
function stepsOf(out: string): number {
  try {
    return jsonLines(path(out, 'metrics.jsonl')).length;
  } catch {
    return 0;
  }
}

async function startAndWait(out: string, steps: number): Promise<ReturnType<typeof start>> {
  const running = start(trainTo(out, 1));
  while (stepsOf(out) < steps) await setTimeout(5);
  return running;
}

const numbers = (out: string) =>
  jsonLines(path(out, 'metrics.jsonl')).map(({ step, loss, gradNorm }) => [step, loss, gradNorm]);
const adapter = (out: string) => readFileSync(path(out, 'adapter', 'adapter_model.safetensors'));

it('the first Ctrl-C saves; resumed with other threads, the run equals one that never stopped', async () => {
  expect(lorikeet(trainTo('whole', 1)).code).toBe(0);

  const running = await startAndWait('stopped', 10);
  running.kill('SIGINT');
  const { code, stderr } = await running.result;
  expect(code).toBe(130);
  const step = Number(/stopped after step (\d+) of 180, saved; lorikeet train --resume --out/.exec(stderr)?.[1]);
  expect(step).toBeGreaterThanOrEqual(10);
  expect(numbers('stopped')).toEqual(numbers('whole').slice(0, step));

  const resumed = lorikeet(['train', '--resume', '--out', path('stopped'), '--threads', '2']);
  expect(resumed.code).toBe(0);
  expect(resumed.stdout).toContain(`resuming after step ${step} of 180`);
  expect(numbers('stopped')).toEqual(numbers('whole'));
  expect(adapter('stopped').equals(adapter('whole'))).toBe(true);
});

it('SIGTERM saves as Ctrl-C does', async () => {
  const running = await startAndWait('ended', 10);
  running.kill('SIGTERM');
  const { code, stderr } = await running.result;
  expect(code).toBe(130);
  const step = Number(/stopped after step (\d+) of 180, saved/.exec(stderr)?.[1]);
  expect(step).toBeGreaterThanOrEqual(10);
  expect(numbers('ended')).toEqual(numbers('whole').slice(0, step));
});

it('killed without warning, it goes on from the last complete checkpoint', async () => {
  const running = await startAndWait('killed', 12);
  running.kill('SIGKILL');
  await running.result;
  const done = stepsOf('killed');
  // The very same command again, with --resume.
  const resumed = lorikeet([...trainTo('killed', 2), '--resume', '--json']);
  const { startStep, step } = JSON.parse(resumed.stdout);
  expect(startStep % 7).toBe(0);
  expect(startStep).toBeGreaterThan(0);
  expect(startStep).toBeLessThanOrEqual(done);
  expect(step).toBe(180);
  expect(numbers('killed')).toEqual(numbers('whole'));
  expect(adapter('killed').equals(adapter('whole'))).toBe(true);
});

it('is refused to a second process while the first one writes', async () => {
  const running = await startAndWait('shared', 3);
  const { code, stderr } = lorikeet(['train', '--resume', '--out', path('shared')]);
  expect(stderr).toMatch(/shared: process \d+ is writing this run/);
  expect(code).toBe(2);
  running.kill('SIGINT');
  expect((await running.result).code).toBe(130);
  expect(readdirSync(path('shared')).sort()).toEqual(['checkpoints', 'config.yaml', 'metrics.jsonl']);
});

it('the second Ctrl-C leaves at once', async () => {
  const running = await startAndWait('impatient', 3);
  running.kill('SIGINT');
  running.kill('SIGINT');
  expect((await running.result).code).toBe(130);
});
