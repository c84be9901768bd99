/** What one evaluation found for one example. `predicted` is undefined when an answer could not be parsed. */
export interface Outcome {
  label: number;
  predicted: number | undefined;
  tie?: boolean;
}

export interface ClassMetrics {
  label: string;
  precision: number;
  recall: number;
  f1: number;
  support: number;
}

export interface Metrics {
  accuracy: number;
  n: number;
  /** Wilson's 95% interval of the accuracy. */
  ci95: [number, number];
  macroF1: number;
  perClass: ClassMetrics[];
  /** confusion[label][predicted]; the last column counts unparseable answers. */
  confusion: number[][];
  unparsed: number;
  ties: number;
}

/** Wilson's score interval for `successes` of `n` (Wilson, JASA 1927); z = 1.96 for 95%. [0, 1] for n = 0. */
export function wilson(successes: number, n: number, z = 1.959963984540054): [number, number] {
  if (n === 0) return [0, 1];
  const p = successes / n;
  const scale = 1 / (1 + (z * z) / n);
  const centre = (p + (z * z) / (2 * n)) * scale;
  const half = z * Math.sqrt((p * (1 - p)) / n + (z * z) / (4 * n * n)) * scale;
  // At 0 and n successes rounding may leave a bound a hair outside.
  return [Math.max(0, centre - half), Math.min(1, centre + half)];
}

/** Accuracy and its relatives; an unparseable answer is wrong. A ratio with denominator 0 is 0, as in scikit-learn. */
export function metrics(outcomes: readonly Outcome[], labels: readonly string[]): Metrics {
  const confusion = labels.map(() => new Array<number>(labels.length + 1).fill(0));
  for (const { label, predicted } of outcomes) confusion[label][predicted ?? labels.length]++;
  const ratio = (a: number, b: number): number => (b === 0 ? 0 : a / b);
  const perClass = labels.map((label, c): ClassMetrics => {
    const right = confusion[c][c];
    const support = confusion[c].reduce((a, b) => a + b, 0);
    const precision = ratio(
      right,
      confusion.reduce((sum, row) => sum + row[c], 0),
    );
    const recall = ratio(right, support);
    return { label, precision, recall, f1: ratio(2 * precision * recall, precision + recall), support };
  });
  const n = outcomes.length;
  const correct = labels.reduce((sum, _, c) => sum + confusion[c][c], 0);
  return {
    accuracy: ratio(correct, n),
    n,
    ci95: wilson(correct, n),
    macroF1: ratio(
      perClass.reduce((sum, c) => sum + c.f1, 0),
      labels.length,
    ),
    perClass,
    confusion,
    unparsed: confusion.reduce((sum, row) => sum + row[labels.length], 0),
    ties: outcomes.filter((o) => o.tie).length,
  };
}
