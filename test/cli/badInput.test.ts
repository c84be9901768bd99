import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { beforeAll, describe, expect, it } from 'vitest';
import { jsonLines, lorikeet, rows, workFolder } from '../support/cli.ts';

const { path, write } = workFolder();
const quick = ['--threads', '1', '--prompt', 'none'];
const evalOf = (data: string, ...more: string[]) => [
  'eval',
  '--model',
  path('model'),
  '--data',
  data,
  ...quick,
  ...more,
];
const trainTo = (out: string, ...more: string[]) => [
  ...['train', '--model', path('model'), '--data', path('data.jsonl'), '--out', out, '--epochs', '1'],
  ...[...quick, ...more],
];

/** The command ends with this status and one sentence that matches; never with a stack trace. */
function refuses(args: string[], code: number, sentence: RegExp, options?: { shell: string }): void {
  const result = lorikeet(args, options);
  expect(result.stderr).toMatch(sentence);
  expect(result.code).toBe(code);
  expect(result.stderr).not.toMatch(/^\s+at /m);
}

beforeAll(() => expect(lorikeet(trainTo(path('run'))).code).toBe(0));

describe('flags and configuration', () => {
  it.each([
    ['an unknown key', 'batchsize: 4', /unknown key 'batchsize'; did you mean 'batch-size'\?/],
    ['an underscore', 'max_length: 4', /unknown key 'max_length'; did you mean 'max-length'\?/],
    ['another command’s key', 'verify: true', /'verify' is an option of another command/],
    ['a wrong number', 'epochs: two', /epochs: expected a whole number, at least 1, found "two"/],
    [
      'a wrong word',
      'schedule: exponential',
      /schedule: expected one of constant, linear, cosine, found "exponential"/,
    ],
    ['no YAML', 'epochs: [1', /wrong\.yaml: not YAML: /],
    ['a list', '- epochs', /expected keys with values/],
  ])('%s in the file', (_, text, sentence) => {
    refuses([...trainTo(path('never')), '--config', write('wrong.yaml', text)], 2, sentence);
    expect(existsSync(path('never'))).toBe(false);
  });

  it.each([
    [['train', '--epochs', '0'], /--epochs: expected a whole number, at least 1, found "0"/],
    [
      ['train', '--device', 'cuda:-1'],
      /--device: expected one of auto, cuda, cuda:N, wasm, reference, found "cuda:-1"/,
    ],
    [['train', '--dropout', '1'], /--dropout: expected a number from 0 to below 1/],
    [['train', '--epoch', '1'], /unknown option '--epoch'\s+\(Did you mean --epochs\?\)/],
    [['eval'], /--data is missing/],
    [['eval', '--rows', '5'], /--rows: expected rows A:B/],
    [['generate', '--top-p', '2'], /--top-p: expected a number above 0, at most 1, found "2"/],
    [['evaluate'], /unknown command/],
    [['pull', 'gpt-5'], /'gpt-5' is not in the catalogue; it has smollm2/],
    [['train', '--out', 'x', '--model', 'm', '--keep', 'best'], /--keep best: give --val/],
    [
      ['train', '--out', 'x', '--model', 'm', '--method', 'prompt', '--init-text', 'good or bad'],
      /--init-text: only --prompt-init text begins with a text, this run has vocab/,
    ],
  ])('%j', (args, sentence) => refuses(args, 2, sentence));
});

describe('data', () => {
  it.each([
    ['an empty file', '', /bad\.jsonl: the file has no rows/],
    [
      'a missing column',
      '{"review":"x","label":"good"}\n',
      /row 1: no column 'text'.*found review, label \(--text-column names another\)/,
    ],
    ['no label', '{"text":"x"}\n', /row 1: it has no label/],
    ['an empty label', '{"text":"x","label":""}\n', /row 1: it has no label/],
    ['no JSON', '{"text":\n', /line 1: not JSON/],
    ['one label', rows(1).join(''), /needs two labels, found good/],
    ['a text that is none', '{"text":5,"label":"good"}\n', /'text' should be a text, found 5/],
  ])('%s', (_, text, sentence) => refuses(evalOf(write('bad.jsonl', text)), 3, sentence));

  it('no file', () => refuses(evalOf(path('none.jsonl')), 4, /none\.jsonl: no such file or folder/));

  it('the folder above those of aclImdb', () => {
    mkdirSync(path('aclImdb', 'train', 'pos'), { recursive: true });
    refuses(
      evalOf(path('aclImdb')),
      3,
      /expected the folders pos and neg with \.txt files, found train; give .*train or/,
    );
  });

  it('an unknown label', () => {
    refuses(
      evalOf(path('data.jsonl'), '--labels', 'good,awful'),
      3,
      /row 2: unknown label 'bad'; the labels are good, awful/,
    );
  });

  it('labels of the same tokens', () => {
    // The vocabulary has neither letter: both labels are the unknown token.
    refuses(evalOf(write('same.jsonl', '{"text":"x","label":"ä"}\n{"text":"y","label":"é"}\n')), 3, /same tokens/);
  });

  it('rows beyond the end', () =>
    refuses(evalOf(path('data.jsonl'), '--rows', '90:99'), 3, /rows 90:99 select none of its 24/));

  it('a text of 50,000 words is cut, and counted', () => {
    const long = JSON.stringify({ text: 'word '.repeat(50_000), label: 'good' });
    const { code, stdout } = lorikeet(evalOf(write('long.jsonl', `${long}\n${rows(2).join('')}`)));
    expect(code).toBe(0);
    expect(stdout).toContain('1 of 3 texts cut to their first 256 tokens');
  });

  it('texts beyond what the model was made for are counted', () => {
    const long = write(
      'long.jsonl',
      `${JSON.stringify({ text: 'word '.repeat(60), label: 'good' })}\n${rows(2).join('')}`,
    );
    const beyond = /warning: 1 of 3 texts is longer, with its prompt, than the 256 tokens the model was made for/;
    const { code, stderr } = lorikeet(evalOf(long, '--max-length', '400'));
    expect([code, stderr]).toEqual([0, expect.stringMatching(beyond)]);
    expect(lorikeet(evalOf(long, '--max-length', '250')).stderr).not.toContain('warning');
    const generated = ['generate', '--model', path('model'), ...quick, '--text', 'a', '--max-new-tokens', '257'];
    expect(lorikeet(generated).stderr).toContain(
      'warning: prompt and answer may take 258 tokens, the model was made for 256',
    );
  });

  it('empty texts and invalid UTF-8 are counted warnings', () => {
    const bytes = Buffer.concat([
      Buffer.from('{"text":"a'),
      Buffer.from([0xff, 0xfe]),
      Buffer.from('","label":"bad"}\n{"text":"","label":"good"}\n'),
    ]);
    const { code, stderr } = lorikeet(evalOf(write('odd.jsonl', bytes), '--prompt', 'alpaca'));
    expect(code).toBe(0);
    expect(stderr).toMatch(/warning: .*odd\.jsonl: 1 row with bytes that are not UTF-8/);
    expect(stderr).toMatch(/warning: .*odd\.jsonl: 1 row with an empty text/);
  });
});

describe('models and adapters', () => {
  it('a name that is none', () => {
    refuses(
      ['inspect', '--model', path('nothing')],
      5,
      /nothing: neither a file or folder nor a name of the catalogue/,
    );
  });

  it('a damaged file', () =>
    refuses(['inspect', '--model', write('broken.gguf', 'GGUF\x03\0\0\0')], 3, /broken\.gguf/));

  it('no adapter', () => {
    refuses(evalOf(path('data.jsonl'), '--adapter', path('nothing')), 4, /nothing: no such file or folder/);
  });

  it('a run in place of its adapter, and a folder that is neither', () => {
    refuses(
      evalOf(path('data.jsonl'), '--adapter', path('run')),
      3,
      /run: not an adapter folder.*; did you mean .*run\/adapter\?/,
    );
    refuses(evalOf(path('data.jsonl'), '--adapter', path('model')), 3, /model: not an adapter folder/);
  });

  it('an adapter that does not fit', () => {
    cpSync(path('run', 'adapter'), path('misfit'), { recursive: true });
    const config = { peft_type: 'LORA', r: 4, target_modules: ['q_proj'] };
    writeFileSync(path('misfit', 'adapter_config.json'), JSON.stringify(config));
    const sentence = /does not fit the model: .*lora_A\.weight has shape/;
    refuses(evalOf(path('data.jsonl'), '--adapter', path('misfit')), 3, sentence);
  });
});

describe('training', () => {
  it('a loss that is not finite', () => {
    refuses(
      trainTo(path('nan'), '--lr', '1e38', '--init', 'normal'),
      7,
      /step \d+: loss or gradient is not a finite number, first in the output of \w+/,
    );
    expect(existsSync(path('nan', 'adapter'))).toBe(false);
  });

  it('a full disk leaves no half-written file', () => {
    refuses(trainTo(path('full')), 4, /state\.safetensors: the file may not grow that large \(EFBIG, write\)/, {
      shell: 'ulimit -f 8',
    });
    expect(readdirSync(path('full', 'checkpoints'))).toEqual([]);
    expect(existsSync(path('full', 'adapter'))).toBe(false);
    expect(jsonLines(path('full', 'metrics.jsonl'))).toHaveLength(3);
  });

  it('predictions on a full disk: the file appears whole or not at all', () => {
    const many = write('many.jsonl', rows(60).join(''));
    refuses(evalOf(many, '--out', path('p.jsonl')), 4, /p\.jsonl: the file may not grow/, { shell: 'ulimit -f 4' });
    expect(readdirSync(path()).filter((name) => name.includes('p.jsonl'))).toEqual([]);
  });

  it('a folder that cannot be written', () => {
    // Root may write anywhere but here.
    refuses(trainTo('/sys/lorikeet'), 4, /\/sys\/lorikeet: .*\((EACCES|EPERM|EROFS|ENOENT), mkdir\)/);
    refuses(trainTo('/proc/lorikeet'), 4, /\/proc\/lorikeet: .*\((EACCES|EPERM|EROFS|ENOENT), mkdir\)/);
    refuses(evalOf(path('data.jsonl'), '--out', path('none', 'p.jsonl')), 4, /none: no such file or folder/);
    const result = lorikeet(evalOf(path('data.jsonl'), '--out', path('run')));
    expect(result.stderr).toMatch(/^lorikeet: --out .*run: it is a folder, expected a file\n$/);
    expect(result.code).toBe(2);
  });

  it('a warm-up longer than the run', () => {
    refuses(trainTo(path('never'), '--warmup', '4'), 2, /--warmup 4: the run has 3 steps/);
    expect(existsSync(path('never'))).toBe(false);
  });

  it('metrics with garbage: after the checkpoint it is dropped, before it is named', () => {
    cpSync(path('run'), path('crashed'), { recursive: true });
    const metrics = readFileSync(path('run', 'metrics.jsonl'), 'utf8');
    const resume = ['train', '--resume', '--out', path('crashed')];
    // What a machine that lost its power may leave of lines that no checkpoint relies on.
    writeFileSync(path('crashed', 'metrics.jsonl'), `${metrics}\0\0\0\n{"step":4,"lo`);
    const { code, stderr } = lorikeet(resume);
    expect(stderr + code).toMatch(/0$/);
    expect(readFileSync(path('crashed', 'metrics.jsonl'), 'utf8')).toBe(metrics);
    writeFileSync(path('crashed', 'metrics.jsonl'), metrics.replace('"loss"', 'loss'));
    refuses(resume, 3, /crashed\/metrics\.jsonl, line 1: not JSON/);
  });

  it('nothing to resume, or another run to go on with', () => {
    refuses(['train', '--resume', '--out', path('nowhere')], 2, /there is no run to resume/);
    refuses(['train', '--resume', '--out', path('run'), '--lr', '1'], 2, /--lr 1: the run in .* has 0\.0005/);
  });
});
