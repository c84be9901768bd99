/** A generated artefact: where its record lies, beside what was built, and its sources below `root`. */
interface Artefact {
  root: string;
  record: string;
  sources: string[] | RegExp;
  rebuild: string;
}
/** What the record of an artefact should hold now. */
export function fingerprint(artefact: Artefact): string;
/** Why an artefact is stale, a sentence a file; none when it is fresh. */
export function staleness(artefact: Artefact): string[];
