import type { PeftModel } from './model.ts';
import { LabelScorer, type LabelTokens, type Score } from './score.ts';
import type { Labelled } from './task.ts';

/**
 * Scores the labels of every row, in order, batch by batch. `metrics()` sums the results up.
 * @throws naming the row whose score is not a finite number
 */
export async function* evaluate(
  peft: PeftModel,
  rows: readonly Labelled[],
  labels: LabelTokens,
): AsyncGenerator<Score & { label: number }> {
  using scorer = new LabelScorer(peft, labels, rows[0]?.example.shared ?? []);
  const label = new Map(rows.map((row) => [row.example, row.label]));
  for (const batch of scorer.batches(rows.map((row) => row.example))) {
    const scores = await scorer.score(batch);
    for (const [i, score] of scores.entries()) yield { ...score, label: label.get(batch[i]) as number };
  }
}
