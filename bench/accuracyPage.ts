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

const points = (share: number): string => `${share < 0 ? '−' : '+'}${percent(Math.abs(share))}`;

/** Accuracies by seed that others are judged by, and whose they are. */
interface Peer {
  name: string;
  accuracies: readonly number[];
}

/** Whether the mean over seeds is where the peer's is: at least its mean − max(2, 2·s·√(2/3)) points, s pooled over both. */
export function verdict(ours: readonly number[], { name, accuracies }: Peer): { text: string; holds: boolean } {
  const s = Math.sqrt((variance(ours) + variance(accuracies)) / 2);
  const bound = mean(accuracies) - Math.max(0.02, 2 * s * Math.sqrt(2 / 3));
  const holds = mean(ours) >= bound;
  const text =
    `mean ${percent(mean(ours))}%, ${name} ${percent(mean(accuracies))}%, pooled s ${percent(s)} points: ` +
    `at least ${percent(bound)}% expected, ${holds ? 'holds' : 'MISSED'}`;
  return { text, holds };
}

function judgements(results: readonly Result[]): string[] {
  const of = (names: readonly string[]): number[] | undefined => {
    const found = names.flatMap((name) => results.filter((r) => r.name === name).map((r) => r.accuracy));
    return found.length === names.length ? found : undefined;
  };
  const [f32, apart, int16] = [judged.shared, judged.apart, judged.int16].map(of);
  const peft = { name: 'peft', accuracies: judged.shared.map((name) => peftRight[name] / 500) };
  const lines: string[] = [];
  if (f32) lines.push(`- shared prefix: ${verdict(f32, peft).text}`);
  if (apart) lines.push(`- \`--no-share-prefix\`: ${verdict(apart, peft).text}`);
  if (int16) lines.push(`- \`--compute int16\`: ${verdict(int16, peft).text}`);
  if (int16 && f32) {
    // The same seeds draw the same adapters, orders and dropout masks: only the arithmetic differs.
    const differences = int16.map((accuracy, seed) => accuracy - f32[seed]);
    const bySeed = `${differences.map(points).join(', ')} points by seed, ${points(mean(differences))} in the mean`;
    lines.push(`- \`--compute int16\` minus f32: ${bySeed}; ${verdict(int16, { name: 'f32', accuracies: f32 }).text}`);
  }
  return lines;
}

export function accuracyPage(results: readonly Result[]): string {
  const rows = results.map((r) => {
    const [low, high] = r.ci95.map(percent);
    const peft = peftRight[r.name];
    const { title, train, both = [] } = settings.find(({ name }) => name === r.name) as (typeof settings)[number];
    return `| ${title} | ${train ? `\`${[...train, ...both].join(' ')}\`` : ''} | ${percent(r.accuracy)} [${low}, ${high}] | ${r.n} | ${r.macroF1.toFixed(3)} | ${peft === undefined ? '' : percent(peft / 500)} | ${r.date} |`;
  });
  const verdicts = judgements(results);
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
    ...(verdicts.length > 0 ? ['LoRA on IMDB, N = 150, three seeds:', '', ...verdicts, ''] : []),
  ].join('\n');
}
