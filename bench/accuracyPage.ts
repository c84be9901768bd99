// bench/ACCURACY.md, from the results of bench/accuracy.ts.
import { judged, settings } from './settings.ts';
import { sum } from './statistics.ts';

/** What `lorikeet eval --json` said of a setting; shares, not percentages. */
export interface Result {
  name: string;
  model: string;
  /** When it was measured: 2026-11-23. */
  date: string;
  accuracy: number;
  n: number;
  ci95: [number, number];
  macroF1: number;
}

/** transformers + peft (torch, f32) with the same prompt, data and settings, by our names: right answers of 500. */
const peftRight: Record<string, number> = {
  'imdb-zero-shot': 306,
  'imdb-lora-50': 259,
  'imdb-lora-150-s0-on': 420,
  'imdb-lora-150-s1-on': 422,
  'imdb-lora-150-s2-on': 408,
  'imdb-lora-500': 430,
  'imdb-prompt-study-150': 264,
  'imdb-prompt-study-500': 326,
};
const percent = (share: number): string => (100 * share).toFixed(1);
const mean = (x: readonly number[]): number => sum(x) / x.length;

/** Unbiased sample variance. */
function variance(x: readonly number[]): number {
  const m = mean(x);
  return sum(x.map((v) => (v - m) ** 2)) / (x.length - 1);
}

/** Whether the mean over seeds is where peft's is: at least its mean − max(2, 2·s·√(2/3)) points, s pooled over both. */
export function verdict(ours: readonly number[], theirs: readonly number[]): { text: string; holds: boolean } {
  const s = Math.sqrt((variance(ours) + variance(theirs)) / 2);
  const bound = mean(theirs) - Math.max(0.02, 2 * s * Math.sqrt(2 / 3));
  const holds = mean(ours) >= bound;
  const text =
    `mean ${percent(mean(ours))}%, peft ${percent(mean(theirs))}%, pooled s ${percent(s)} points: ` +
    `at least ${percent(bound)}% expected, ${holds ? 'holds' : 'MISSED'}`;
  return { text, holds };
}

function judgement(title: string, names: readonly string[], results: readonly Result[]): string[] {
  const ours = names.flatMap((name) => results.filter((r) => r.name === name).map((r) => r.accuracy));
  if (ours.length < names.length) return [];
  return [
    `- ${title}: ${
      verdict(
        ours,
        judged.shared.map((name) => peftRight[name] / 500),
      ).text
    }`,
  ];
}

export function accuracyPage(results: readonly Result[]): string {
  const rows = results.map((r) => {
    const [low, high] = r.ci95.map(percent);
    const peft = peftRight[r.name];
    const { title, train, both = [] } = settings.find(({ name }) => name === r.name) as (typeof settings)[number];
    return `| ${title} | ${train ? `\`${[...train, ...both].join(' ')}\`` : ''} | ${percent(r.accuracy)} [${low}, ${high}] | ${r.n} | ${r.macroF1.toFixed(3)} | ${peft === undefined ? '' : percent(peft / 500)} | ${r.date} |`;
  });
  const judgements = [
    ...judgement('shared prefix', judged.shared, results),
    ...judgement('`--no-share-prefix`', judged.apart, results),
    ...judgement('`--compute int16`', judged.int16, results),
  ];
  return [
    '# What fine-tuning reaches',
    '',
    `Written by \`npm run bench:accuracy -- --write\`. Model ${results[0]?.model ?? '–'}, the CLI's`,
    'defaults except for the flags shown, trained on the first N training rows, evaluated on the first 500 test rows (by label) where nothing else is said. Accuracy',
    "in percent with Wilson's 95% interval; peft: transformers + peft (torch, f32) with the same prompt, data and settings.",
    '',
    '| setting | flags of `train` | accuracy | n | macro-F1 | peft | measured |',
    '|---|---|---|---|---|---|---|',
    ...rows,
    '',
    ...(judgements.length > 0 ? ['LoRA on IMDB, N = 150, three seeds:', '', ...judgements, ''] : []),
  ].join('\n');
}
