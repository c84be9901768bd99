// bench/RESULTS.md, from the results of bench/peers.ts.
import { type Cell, markdownTable, significant } from '../report.ts';
import { fitQuadratic, median, type Spread, spread, sum } from '../statistics.ts';
import { comparisonNames, comparisons, engines, type Pairs, type ProductRates, type Results } from './results.ts';
import { bars, byShape, holds, reviewsPerSecond, shapeName, speedRatio, threadsOf } from './summary.ts';

const times = (n: number): string => `${n.toFixed(2)}×`;
const range = ({ min, max }: Spread): string => `${times(min)} – ${times(max)}`;
const megabytes = (bytes: number): string => Math.round(bytes / 1e6).toLocaleString('en-US');

function barTable(results: Results): string {
  const rows = bars(results).map((bar): Cell[] => {
    const { measure, least, aim, measured, over, low } = bar;
    const bound = (n: number): string => `${low ? '≤ ' : ''}${n}×`;
    if (!measured) return [measure, bound(least), bound(aim), 'not measured', '', ''];
    const among = over === 'one run' ? 'one run' : `${range(measured)} (${over})`;
    return [measure, bound(least), bound(aim), `**${times(measured.median)}**`, among, holds(bar) ? 'yes' : 'NO'];
  });
  return markdownTable(['measure', 'at least', 'aim', 'median', 'min – max', 'holds'], rows);
}

function origins(results: Results): string {
  const rows = Object.entries(results).map(([part, { origin }]): Cell[] => {
    const { machine, commit, command, load } = origin;
    return [part, machine.date.slice(0, 16).replace('T', ' '), commit, load, `\`${command}\``];
  });
  const machines = Object.values(results).map(({ origin: { machine: m } }) =>
    [
      `${m.processor}, ${m.cores} cores, ${(m.memoryBytes / 2 ** 30).toFixed(1)} GiB; ${m.system}; Node ${m.node}, V8 ${m.v8}`,
      `features: ${m.features.join(' ') || 'not listed by the system'}`,
    ].join('; '),
  );
  return [
    ...[...new Set(machines)].map((m) => `- ${m}`),
    '',
    markdownTable(['part', 'measured (UTC)', 'sources', 'load before', 'command'], rows),
  ].join('\n');
}

/** GFLOP/s, median over the rounds. */
function productTable(
  rates: readonly ProductRates[],
  columns: readonly string[],
  columnOf: (r: ProductRates) => string,
): string {
  const rows = threadsOf(rates).flatMap((threads) =>
    byShape(rates, threads).map((shape): Cell[] => [
      `${threads}`,
      shapeName(shape[0]),
      ...columns.map((column) => {
        const found = shape.find((r) => columnOf(r) === column);
        return found && median(found.gflops);
      }),
    ]),
  );
  return markdownTable(['threads', 'M×N×K', ...columns], rows);
}

const perReview = (turn: { computed: number; reviews: number }): number => turn.computed / turn.reviews;

function pairSection(title: string, part: Pairs, sides: [string, string]): string {
  const { ours, theirs, pairs, steps, batch } = part;
  if (pairs.length === 0) return '';
  const turns = (side: 'ours' | 'theirs') => pairs.map((pair) => pair[side]);
  const row = (name: string, side: 'ours' | 'theirs', description: string, tokens: number): Cell[] => {
    const rate = spread(turns(side).map(reviewsPerSecond));
    const computed = median(turns(side).map(perReview));
    const done = turns(side).map((turn) => turn.tokens / sum(turn.seconds));
    return [
      name,
      description,
      rate.median,
      `${significant(rate.min)} – ${significant(rate.max)}`,
      median(done),
      `${tokens}`,
      computed,
    ];
  };
  const lines = [
    `### ${title}`,
    '',
    `${pairs.length} pair${pairs.length > 1 ? 's' : ''} of ${steps} × ${batch} reviews, at most ${part.maxLength} tokens of a review.`,
    '',
    markdownTable(
      ['side', 'with', 'reviews/s', 'min – max', 'tokens/s', 'tokens of all reviews', 'rows computed a review'],
      [
        row(sides[0], 'ours', ours.description, ours.tokens),
        row(sides[1], 'theirs', theirs.description, theirs.tokens),
      ],
    ),
    '',
    `Ratio of the pairs: ${times(speedRatio(part).median)} (${pairs
      .map((p) => reviewsPerSecond(p.ours) / reviewsPerSecond(p.theirs))
      .map(times)
      .join(', ')}).`,
  ];
  const losses = (side: 'ours' | 'theirs'): number[] => turns(side).flatMap((turn) => turn.losses);
  if (losses('ours').length > 0) {
    const mean = (values: number[]): string => (sum(values) / values.length).toFixed(3);
    lines.push(`Mean loss over the steps: ${mean(losses('ours'))} and ${mean(losses('theirs'))}.`);
  }
  const [a, b] = [turns('ours'), turns('theirs')].map((side) => side.flatMap((turn) => turn.predictions));
  if (a.length > 0) {
    const same = a.filter((label, i) => label === b[i]).length;
    lines.push(`Labels predicted alike: ${same} of ${a.length}.`);
  }
  return lines.join('\n');
}

function memorySection({ processes }: NonNullable<Results['memory']>): string {
  const rows = processes.map((p): Cell[] => [p.job, p.side, p.dtype, megabytes(p.loadedBytes), megabytes(p.peakBytes)]);
  return [
    '### Peak resident memory',
    '',
    'Each in a process of its own: two steps (or batches) of reviews of full length. MB = 10⁶ bytes.',
    '',
    markdownTable(['job', 'side', 'type', 'most while loading, MB', 'most of all, MB'], rows),
  ].join('\n');
}

function lengthSection({ series }: NonNullable<Results['length']>): string {
  const lines = [
    '### Cost against length',
    '',
    'Seconds of a LoRA step (median of 3) on reviews of exactly so many random tokens.',
    '',
  ];
  const [{ points }] = series;
  lines.push(
    markdownTable(
      ['tokens a review', ...points.map(({ length }) => `${length}`)],
      series.flatMap((s): Cell[][] => [
        [`batch ${s.batch}: seconds`, ...s.points.map((p) => p.seconds)],
        [`batch ${s.batch}: computed at once`, ...s.points.map((p) => `${p.microBatch}`)],
      ]),
    ),
    '',
  );
  for (const s of series) {
    const fit = fitQuadratic(s.points.map(({ length, seconds }) => ({ x: length, y: seconds })));
    const T = Math.max(...s.points.map(({ length }) => length));
    const [linear, quadratic] = [fit.linear * T, fit.quadratic * T ** 2];
    lines.push(
      `Batch ${s.batch}: ${fit.constant.toFixed(3)} s + ${(1e3 * fit.linear).toFixed(3)} ms · T + ${(1e6 * fit.quadratic).toFixed(3)} µs · T²; ` +
        `at T = ${T} the linear part is ${linear.toFixed(2)} s, the quadratic one ${quadratic.toFixed(2)} s.`,
      '',
    );
  }
  return lines.join('\n').trimEnd();
}

const intro = `# Results of \`npm run bench:peers\`

Written by \`npm run bench:peers -- page\` from the JSON of the last runs; do not edit. Ratios above 1 mean that lorikeet is faster.
Everything in one line of the tables was measured in turns in one run; only ratios count, rates vary with the machine's load.

How the sides run:
- **lorikeet**: weights as they are in the file (Q4_1 with a Q8_0 embedding), f32 arithmetic, in WebAssembly. The instruction that all reviews
  share is computed once a step, nothing is padded, logits exist for answer tokens only; as much of a batch at once as memory allows. These
  are the command line's defaults.
- **lorikeet with \`--compute int16\`**: the same, but linear layers and their gradients for the input, of 16 rows and more, multiply in 16-bit
  integers; adapters, attention, loss and everything else stay f32. Bars that do not name it are held or missed in f32; its lines stand beside them.
- **transformers + peft**: the same GGUF file, widened to f32 or bf16 when it is loaded; scaled-dot-product attention, no gradient checkpointing.
  Training pads each batch on the right to its longest review; LoRA's matrices are f32 under bf16 weights (peft's default). Evaluation runs in
  inference mode without a cache, sorted by length, padded on the left, with logits for the last row alone.
- Both train LoRA (r 8, alpha 16, dropout 0.1, q_proj and v_proj) or 8 virtual tokens with AdamW at the same rate on the same reviews, same prompt, same
  cut, in the same order, each side's library set to the same number of threads. Both are loaded and have done a step before the first pair.
  Before LoRA's first step the losses of both sides have to agree within 2%.
- **Matrix products**: y = x·Wᵀ in f32. onnxruntime holds W as an initializer, which it packs once when the session is made; tfjs gets W transposed beforehand, the
  only case that its XNNPACK path takes, and has one thread in Node; numpy and torch (\`linear\`, no gradients) read W as it is, as lorikeet does. Every
  library's result is compared with float64 in one element. The FMA peaks are a loop of multiply-adds alone, in WebAssembly. Where a native library is faster than the
  256-bit one, it uses 512-bit pipes, for which WebAssembly has no instructions: that peak takes the native libraries' place among the bars.`;

/** The parts that were measured, as Markdown. */
export function resultsPage(results: Results): string {
  const sections = [
    intro,
    '## Against the bars',
    barTable(results),
    '## Where and when',
    origins(results),
    '## Details',
  ];
  const { gemm, weights, memory, scaling, length } = results;
  if (gemm) {
    const versions = Object.entries(gemm.versions).map(([name, version]) => `${name} ${version}`);
    const measured = Object.values(engines).filter((name) => gemm.rates.some(({ engine }) => engine === name));
    sections.push(
      '### Matrix products, GFLOP/s',
      `Median of ${gemm.rates[0].gflops.length} rounds. ${versions.join('; ')}.`,
      productTable(gemm.rates, measured, ({ engine }) => engine),
    );
  }
  if (weights) {
    const kinds = [...new Set(weights.rates.map(({ weight }) => weight))];
    const heading = `### Matrix products by type of the weight, GFLOP/s (${weights.rates[0].engine})`;
    sections.push(
      heading,
      productTable(weights.rates, kinds, ({ weight }) => weight),
    );
  }
  for (const name of comparisonNames) {
    const result = results[name];
    if (result) sections.push(pairSection(comparisons[name].title, result, ['lorikeet', 'transformers']));
  }
  if (memory) sections.push(memorySection(memory));
  if (scaling)
    sections.push(pairSection('Scaling of a LoRA step', scaling, [`${scaling.threads} threads`, '1 thread']));
  if (length) sections.push(lengthSection(length));
  return `${sections.filter((s) => s !== '').join('\n\n')}\n`;
}
