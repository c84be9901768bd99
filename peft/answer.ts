/** Lower case, without white space and punctuation around it. */
const normalized = (text: string): string => text.toLowerCase().replace(/^[\s\p{P}\p{S}]+|[\s\p{P}\p{S}]+$/gu, '');

/**
 * Which label a generated answer means: the one it is, or the only one whose name it contains; undefined when there is none
 * or more than one. LlamBERT's rule for 'positive' and 'negative' (Csanády et al., 2024), for any labels.
 */
export function parseAnswer(answer: string, labels: readonly string[]): number | undefined {
  const said = normalized(answer);
  const names = labels.map(normalized);
  const exact = names.indexOf(said);
  if (exact >= 0) return exact;
  const contained = names.flatMap((name, i) => (said.includes(name) ? [i] : []));
  return contained.length === 1 ? contained[0] : undefined;
}
