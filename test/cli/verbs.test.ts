import { cpSync, existsSync, readdirSync, readFileSync } from 'node:fs';
import { beforeAll, describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { jsonLines, lorikeet, rows, workFolder } from '../support/cli.ts';

const { path, write } = workFolder();
const common = ['--threads', '1', '--prompt', 'none', '--max-length', '40'];
const trainArgs = (out: string, ...more: string[]) => [
  ...['train', '--model', path('model'), '--data', path('data.jsonl'), '--out', path(out)],
  ...[...common, '--epochs', '1', '--lr', '0.01', ...more],
];
const evalArgs = (...more: string[]) => ['eval', '--data', path('data.jsonl'), '--threads', '1', ...more];

let trained = '';
beforeAll(() => {
  const result = lorikeet(trainArgs('run', '--val', '0.25'));
  expect(result.stderr + result.code).toMatch(/0$/);
  trained = result.stdout;
});

describe('train', () => {
  it('leaves configuration, metrics, checkpoints and adapter', () => {
    expect(trained).toContain('device: wasm');
    expect(trained).toContain('0 of 18 texts cut to their first 40 tokens');
    expect(trained).toContain(`adapter: ${path('run', 'adapter')}`);
    const lines = jsonLines(path('run', 'metrics.jsonl'));
    expect(lines.map(({ step, epoch }) => [step, epoch])).toEqual([1, 2, 3].map((step) => [step, 1]));
    for (const line of lines) {
      for (const key of ['loss', 'gradNorm', 'lr', 'tokens', 'seconds']) expect(line[key]).toEqual(expect.any(Number));
    }
    expect(lines[2].val).toMatchObject({ n: 6, accuracy: expect.any(Number), loss: expect.any(Number) });
    expect(readdirSync(path('run')).sort()).toEqual(['adapter', 'checkpoints', 'config.yaml', 'metrics.jsonl']);
    expect(readdirSync(path('run', 'checkpoints'))).toEqual(['step-000003']);
    expect(readdirSync(path('run', 'adapter')).sort()).toEqual([
      ...['README.md', 'adapter_config.json', 'adapter_model.safetensors', 'lorikeet.json'],
    ]);
  });

  it('records prompt, labels, lengths, seed and model with the adapter', () => {
    expect(JSON.parse(readFileSync(path('run', 'adapter', 'lorikeet.json'), 'utf8'))).toMatchObject({
      ...{
        model: path('model'),
        prompt: 'none',
        labels: ['bad', 'good'],
        maxLength: 40,
        htmlBreaks: 'newline',
        seed: 0,
      },
    });
  });

  it('writes a configuration that gives the same run again', () => {
    const config = parse(readFileSync(path('run', 'config.yaml'), 'utf8'));
    expect(config).toMatchObject({ model: path('model'), lr: 0.01, seed: 0, 'micro-batch': 8, prompt: 'none' });
    expect(config.record.versions).toMatchObject({ lorikeet: expect.any(String), node: expect.any(String) });
    expect(config.record.prompt).toBe('{text} {label}');
    const again = lorikeet(['train', '--config', path('run', 'config.yaml'), '--out', path('again'), '--json']);
    expect(again.code).toBe(0);
    expect(JSON.parse(again.stdout)).toMatchObject({
      ...{ adapter: path('again', 'adapter'), startStep: 0, step: 3, steps: 3, trainableParameters: 2048 },
      val: { n: 6 },
    });
    const adapter = (run: string) => readFileSync(path(run, 'adapter', 'adapter_model.safetensors'));
    expect(adapter('again').equals(adapter('run'))).toBe(true);
  });

  it('does not overwrite a run', () => {
    const { code, stderr } = lorikeet(trainArgs('run'));
    expect(code).toBe(2);
    expect(stderr).toMatch(/run exists already: choose another --out, or go on with --resume/);
  });

  it('keeps the best adapter and goes on from one', () => {
    const best = lorikeet([
      ...trainArgs('best', '--val', path('data.jsonl'), '--keep', 'best', '--eval-every', '1'),
      '--json',
    ]);
    expect(best.code).toBe(0);
    const summary = JSON.parse(best.stdout);
    const validated = jsonLines(path('best', 'metrics.jsonl')).map(
      (line) => line.val as { accuracy: number; loss: number },
    );
    const top = Math.max(...validated.map((v) => v.accuracy));
    expect(summary.best.accuracy).toBe(top);
    expect(existsSync(path('best', 'adapter', 'adapter_config.json'))).toBe(true);
    const more = lorikeet([
      ...['train', '--adapter', path('run', 'adapter'), '--data', path('data.jsonl')],
      ...['--out', path('more'), '--epochs', '1', '--threads', '1'],
    ]);
    expect(more.code).toBe(0);
    expect(more.stdout).toContain(
      'as recorded with the adapter: model, prompt, instruction, labels, max-length, html-breaks',
    );
    const config = (run: string) => readFileSync(path(run, 'adapter', 'adapter_config.json'), 'utf8');
    expect(config('more')).toBe(config('run'));
    const again = lorikeet(['train', '--config', path('more', 'config.yaml'), '--out', path('more2')]);
    expect([again.code, config('more2')]).toEqual([0, config('run')]);
  });

  it('is resumed and evaluated from any folder', () => {
    const files = ['--model', 'model', '--data', 'data.jsonl', '--val', 'data.jsonl', '--out', 'anywhere'];
    expect(lorikeet(['train', ...files, '--epochs', '1', ...common], { cwd: path() }).code).toBe(0);
    expect(lorikeet(['train', '--resume', '--out', path('anywhere')]).stderr).not.toContain('lorikeet:');
    const same = ['train', '--resume', '--out', 'anywhere', '--data', 'data.jsonl'];
    expect(lorikeet(same, { cwd: path() }).code).toBe(0);
    expect(lorikeet(evalArgs('--adapter', path('anywhere', 'adapter'), '--limit', '2')).code).toBe(0);
  });

  it('goes on in 16-bit integers with a run that began so, and on the CPU', () => {
    expect(lorikeet(trainArgs('int16', '--compute', 'int16', '--rows', '0:8')).code).toBe(0);
    const config = parse(readFileSync(path('int16', 'config.yaml'), 'utf8'));
    expect(config).toMatchObject({ compute: 'int16', device: 'auto' });
    expect(config.record.device).toMatch(/^wasm, .*, products in int16/);
    const resume = (...more: string[]) => lorikeet(['train', '--resume', '--out', path('int16'), ...more]);
    const other = resume('--compute', 'float32');
    expect(other.stderr).toMatch(/--compute float32: the run in .*int16 has "int16", and resuming goes on with it\n$/);
    expect(other.code).toBe(2);
    const moved = resume('--device', 'cuda');
    expect(moved.stderr).toMatch(
      /^lorikeet: --device cuda: the run in .*int16 computes with --compute int16, which --device wasm alone has, and resuming/,
    );
    expect(moved.code).toBe(6);
    const same = resume('--device', 'wasm');
    expect(same.stderr).not.toContain('bit for bit');
    expect(same.stdout).toMatch(/^device: wasm, .*, products in int16\n/);
    expect(same.code).toBe(0);
  });

  it('takes a name of the catalogue for that model, whatever lies in the folder', () => {
    cpSync(path('model'), path('llama-2-7b-chat'), { recursive: true });
    const { code, stderr } = lorikeet(
      ['train', '--model', 'llama-2-7b-chat', '--data', 'data.jsonl', '--out', 'named', ...common],
      { cwd: path(), variables: { HF_ENDPOINT: 'http://127.0.0.1:9', LORIKEET_CACHE: path('cache') } },
    );
    expect(stderr).toMatch(/^lorikeet: http:\/\/127\.0\.0\.1:9: /);
    expect(code).toBe(5);
  });

  it('warns of options of the other method', () => {
    const { code, stderr } = lorikeet(trainArgs('other', '--virtual-tokens', '4', '--rows', '0:8'));
    expect([code, stderr]).toEqual([
      0,
      expect.stringContaining('warning: --virtual-tokens has no effect: the method is lora'),
    ]);
    expect(parse(readFileSync(path('other', 'config.yaml'), 'utf8'))).not.toHaveProperty('virtual-tokens');
  });

  it('tunes virtual tokens, and trains on prompts with completions and on chats', () => {
    const prompt = lorikeet([...trainArgs('virtual', '--method', 'prompt', '--virtual-tokens', '3'), '--json']);
    expect(prompt.stderr).not.toMatch(/lorikeet:/);
    expect(JSON.parse(prompt.stdout).trainableParameters).toBe(3 * 32);
    const start = ['--adapter', path('virtual', 'adapter'), '--data', path('data.jsonl')];
    expect(lorikeet(['train', ...start, '--out', path('virtual2'), '--epochs', '1', '--threads', '1']).code).toBe(0);
    expect(parse(readFileSync(path('virtual2', 'config.yaml'), 'utf8'))).toMatchObject({ lr: 0.03 });
    const completions = write(
      'pairs.jsonl',
      `${JSON.stringify({ prompt: 'one two', completion: ' three' })}\n`.repeat(3),
    );
    const pairs = lorikeet([
      ...['train', '--model', path('model'), '--data', completions, '--val', completions, '--out', path('pairs')],
      ...['--epochs', '1', '--threads', '1', '--json', '--prompt', 'llama2'],
    ]);
    expect(pairs.stderr).toContain(`--prompt has no effect: ${completions} has prompts with completions`);
    expect(parse(readFileSync(path('pairs', 'config.yaml'), 'utf8'))).not.toHaveProperty('prompt');
    expect(JSON.parse(pairs.stdout)).toMatchObject({ step: 1, val: { n: 3, loss: expect.any(Number) } });
    // 'one tw' once, then 'o three' for each; the end token needs no row.
    expect(jsonLines(path('pairs', 'metrics.jsonl'))[0].tokens).toBe(6 + 3 * 7);
    const record = (run: string) => JSON.parse(readFileSync(path(run, 'adapter', 'lorikeet.json'), 'utf8'));
    expect(record('pairs')).toMatchObject({ prompt: 'none', instruction: '' });
    const messages = [
      { role: 'user', content: 'one' },
      { role: 'assistant', content: 'two' },
    ];
    const chats = write('chats.jsonl', `${JSON.stringify({ messages })}\n`.repeat(2));
    const shown = lorikeet(['inspect', '--model', path('model'), '--data', chats, '--json']);
    const tokens = JSON.parse(shown.stdout).examples[0].tokens as { token: string; trained: boolean }[];
    expect(tokens.filter((t) => t.trained).map((t) => t.token)).toEqual(['t', 'w', 'o', '</s>']);
  });
});

describe('eval', () => {
  it('prints where the time went', () => {
    const args = evalArgs('--model', path('model'), ...common, '--limit', '2');
    expect(lorikeet(args).stdout).not.toContain('linear');
    const { code, stdout } = lorikeet([...args, '--profile']);
    expect(code).toBe(0);
    expect(stdout).toMatch(/^profile: \d+\.\d of \d+\.\d s in ops$/m);
    expect(stdout).toMatch(/^op +inputs +T +calls +ms +rate$/m);
    expect(stdout).toMatch(/^linear +\[T, \d+\] .* \d+\.\d% +\d+\.\d GFLOP\/s$/m);
  });

  it('prints exactly these keys as JSON, and a line for every row', () => {
    const predictions = path('predictions.jsonl');
    const { code, stdout, stderr } = lorikeet(
      evalArgs('--model', path('model'), ...common, '--out', predictions, '--json'),
    );
    expect(code).toBe(0);
    expect(stderr).toContain('device: wasm');
    const result = JSON.parse(stdout);
    expect(Object.keys(result).sort()).toEqual(
      [
        ...['accuracy', 'n', 'ci95', 'macroF1', 'perClass', 'confusion', 'unparsed', 'ties'],
        ...['reviewsPerSecond', 'tokensPerSecond', 'settings'],
      ].sort(),
    );
    expect(result.settings).toMatchObject({ prompt: 'none', labels: ['bad', 'good'], maxLength: 40, mode: 'label' });
    const lines = jsonLines(predictions);
    expect(lines).toHaveLength(24);
    expect(lines[3]).toEqual({
      ...{ index: 3, id: 'r3', label: 'bad', predicted: expect.any(String), correct: expect.any(Boolean) },
      logProbs: { bad: expect.any(Number), good: expect.any(Number) },
    });
    expect(lines.filter((line) => line.correct).length / 24).toBe(result.accuracy);
  });

  it('takes model and prompt from the adapter, and says when a flag differs', () => {
    const taken = lorikeet(evalArgs('--adapter', path('run', 'adapter')));
    expect(taken.code).toBe(0);
    expect(taken.stdout).toContain('as recorded with the adapter: model, prompt, instruction, labels, max-length');
    const differs = lorikeet(evalArgs('--adapter', path('run', 'adapter'), '--max-length', '5'));
    expect(differs.stderr).toContain('warning: --max-length differs from what the adapter was trained with: 40');
    expect(differs.stdout).toContain('24 of 24 texts cut to their first 5 tokens');
  });

  it('knows the adapter’s model by another spelling of its path', () => {
    const args = [
      'eval',
      '--data',
      'data.jsonl',
      '--adapter',
      path('run', 'adapter'),
      '--limit',
      '2',
      '--threads',
      '1',
    ];
    const { code, stderr } = lorikeet([...args, '--model', 'model'], { cwd: path() });
    expect([code, stderr]).toEqual([0, expect.not.stringContaining('warning')]);
  });

  it('draws answers by the adapter’s seed unless another is given', () => {
    lorikeet(trainArgs('seeded', '--seed', '7', '--limit', '4'));
    const args = evalArgs('--adapter', path('seeded', 'adapter'), '--limit', '2', '--json');
    const taken = lorikeet(args);
    expect(taken.stderr).toMatch(/^as recorded with the adapter: .*, seed$/m);
    expect(JSON.parse(taken.stdout).settings.seed).toBe(7);
    const other = lorikeet([...args, '--seed', '8']);
    expect(JSON.parse(other.stdout).settings.seed).toBe(8);
    expect(other.stderr).not.toContain('warning');
  });

  it('generates answers and looks for the label in them', () => {
    const args = evalArgs('--model', path('model'), ...common, '--mode', 'generate', '--limit', '4', '--json');
    const result = JSON.parse(lorikeet(args).stdout);
    expect(result.n).toBe(4);
    expect(result.confusion[0]).toHaveLength(3);
    expect(result.unparsed).toBe(result.confusion[0][2] + result.confusion[1][2]);
  });

  const onDevice = (device: string, compute: string): number[] => {
    const out = path(`on-${device}-${compute}.jsonl`);
    const how = ['--device', device, '--compute', compute, '--limit', '4', '--out', out];
    lorikeet(evalArgs('--model', path('model'), ...common, ...how));
    return jsonLines(out).map((line) => (line.logProbs as { bad: number }).bad);
  };
  it.each([
    ['wasm', 'float32', 5e-4],
    ['cuda-sim', 'float32', 5e-4],
    ['cuda-sim', 'bfloat16', 5e-2],
  ])(
    'computes on %s in %s what it does on the reference',
    (device, compute, tolerance) => {
      const [found, expected] = [onDevice(device, compute), onDevice('reference', 'float32')];
      expect(found.length).toBe(4);
      for (const [i, x] of expected.entries()) expect(Math.abs(found[i] - x)).toBeLessThan(tolerance);
    },
    120_000,
  );

  it('selects rows', () => {
    const result = lorikeet(evalArgs('--model', path('model'), ...common, '--rows', '2:12', '--limit', '6', '--json'));
    expect(JSON.parse(result.stdout).perClass.map((c: { support: number }) => c.support)).toEqual([3, 3]);
  });
});

describe('the other commands', () => {
  it('generate: the same text for the same seed', () => {
    const run = (...more: string[]) =>
      lorikeet([
        'generate',
        '--model',
        path('model'),
        '--prompt',
        'none',
        '--max-new-tokens',
        '12',
        '--threads',
        '1',
        ...more,
      ]);
    const sampled = ['--text', 'the film', '--temperature', '1', '--json'];
    const one = JSON.parse(run(...sampled, '--seed', '1').stdout);
    expect(one).toEqual({ text: expect.any(String) });
    expect(JSON.parse(run(...sampled, '--seed', '1').stdout)).toEqual(one);
    expect(JSON.parse(run(...sampled, '--seed', '2').stdout)).not.toEqual(one);
    const cut = run('--text', 'a film '.repeat(20), '--max-length', '30');
    expect([cut.code, cut.stderr]).toEqual([0, expect.stringContaining('the text was cut to its first 30 tokens')]);
    expect(run('--text', 'the film').stderr).not.toContain('cut');
    const timed = run('--text', 'the film', '--profile');
    expect(timed.code).toBe(0);
    expect(timed.stdout).toMatch(/^profile: \d+\.\d of \d+\.\d s in ops$/m);
    expect(timed.stdout).toMatch(/^linear +\[T, \d+\] .* \d+\.\d% +\d+\.\d GFLOP\/s$/m);
    const piped = lorikeet(['generate', '--model', path('model'), '--prompt', 'chat', '--max-new-tokens', '3'], {
      input: 'hi\n',
    });
    expect(piped.code).toBe(0);
  });

  it('merge: a folder with something in it is refused before any model is looked for', () => {
    const { code, stderr } = lorikeet([
      'merge',
      '--adapter',
      path('run', 'adapter'),
      '--model',
      path('none'),
      '--out',
      path('run'),
    ]);
    expect(code).toBe(2);
    expect(stderr).toMatch(/run is not empty: choose another --out$/m);
  });

  it('merge: a folder that is a model with the adapter’s answers', () => {
    const merged = lorikeet(['merge', '--adapter', path('run', 'adapter'), '--out', path('merged'), '--json']);
    expect(merged.code).toBe(0);
    expect(merged.stderr).toMatch(/^as recorded with the adapter: model$/m);
    const { largestDifference, largestLogit } = JSON.parse(merged.stdout);
    expect(largestDifference).toBeLessThan(1e-5 * largestLogit);
    const scores = (...args: string[]) => {
      lorikeet(evalArgs(...args, ...common, '--out', path('scores.jsonl'), '--limit', '4'));
      return jsonLines(path('scores.jsonl')).map((line) => (line.logProbs as { good: number }).good);
    };
    const expected = scores('--adapter', path('run', 'adapter'));
    for (const [i, x] of scores('--model', path('merged')).entries()) expect(x).toBeCloseTo(expected[i], 3);
  });

  it('inspect: a model, an adapter, and examples token by token', () => {
    const model = lorikeet(['inspect', '--model', path('model')]);
    expect(model.stdout).toMatch(/layers\.\{0–1\}\.self_attn\.q_proj\.weight +f32 +\[32, 32\]/);
    const adapter = JSON.parse(lorikeet(['inspect', '--adapter', path('run', 'adapter'), '--json']).stdout).adapter;
    expect(adapter).toMatchObject({ method: 'lora', parameters: 2048, config: { r: 8, alpha: 16 } });
    const data = lorikeet(['inspect', '--model', path('model'), '--data', path('data.jsonl'), '--prompt', 'none']);
    expect(data.stdout).toContain('the first 2 of 24 rows');
    expect(data.stdout).toMatch(/→ +2 {2}"<\/s>"/);
  });

  it('doctor: what this machine has', () => {
    const { code, stdout } = lorikeet(['doctor', '--json', '--threads', '1']);
    const found = JSON.parse(stdout);
    expect(code).toBe(found.CUDA.ok ? 0 : 6);
    expect(found.threads.found).toMatch(/^1 of \d+ cores$/);
    expect(Object.keys(found)).toEqual(
      expect.arrayContaining(['node', 'kernels', 'revectorizer', 'CUDA', 'SIMD (128 bit)']),
    );
  });

  it('help: commands, options and exit codes', () => {
    const help = lorikeet(['--help']);
    expect(help.code).toBe(0);
    expect(help.stdout).toContain('130  interrupted');
    expect(lorikeet(['train', '--help']).stdout).toContain('--batch-size <N>');
    expect(lorikeet(['--version']).stdout).toMatch(/^\d+\.\d+\.\d+\n$/);
  });
});

it('a configuration file gives every option; a flag beats it', () => {
  const config = write(
    'eval.yaml',
    `data: ${path('data.jsonl')}\nprompt: none\nlimit: 6\nthreads: 1\nmax-length: 30\n`,
  );
  const threads = write('threads.yaml', 'threads: 1\n');
  expect(lorikeet(['doctor', '--config', threads]).stdout).toMatch(/threads +1 of \d+ cores/);
  const result = lorikeet(['eval', '--config', config, '--model', path('model'), '--limit', '4', '--json']);
  const { n, settings } = JSON.parse(result.stdout);
  expect([n, settings.prompt, settings.maxLength]).toEqual([4, 'none', 30]);
});

it('a table and integer labels', () => {
  const lines = rows(6).map((line) => JSON.parse(line));
  const table = ['review,class', ...lines.map((r) => `${r.text},${r.label === 'good' ? 1 : 0}`)].join('\n');
  const file = write('data.csv', table);
  const args = [
    'eval',
    '--model',
    path('model'),
    '--data',
    file,
    '--text-column',
    'review',
    '--label-column',
    'class',
    ...common,
  ];
  const refused = lorikeet(args);
  expect(refused.code).toBe(3);
  expect(refused.stderr).toContain('labels are integers: name them in order (--labels negative,positive)');
  expect(JSON.parse(lorikeet([...args, '--labels', 'bad,good', '--json']).stdout).n).toBe(6);
});
