import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { FormatError, readJson, replaceFile } from '../engine/file.ts';
import { templateNames } from './template.ts';

/** The file beside an adapter's own that says how it was trained; peft ignores it. */
const settingsFile = 'lorikeet.json';

const schema = z.object({
  /** Name in the catalogue, or path, of the model it was trained on. */
  model: z.string(),
  prompt: z.enum(templateNames),
  instruction: z.string(),
  /** Absent for data without classes. */
  labels: z.array(z.string()).optional(),
  maxLength: z.int().positive(),
  htmlBreaks: z.enum(['newline', 'keep']),
  seed: z.int().nonnegative(),
});

/** What an adapter expects around it: other prompts or lengths than it was trained with give other answers. */
export type AdapterRecord = z.infer<typeof schema>;

/**
 * How the adapter in `folder` was trained; undefined when nothing says so, as for adapters from elsewhere.
 * @throws FormatError naming the file and the field
 */
export async function readSettings(folder: string): Promise<AdapterRecord | undefined> {
  const path = join(folder, settingsFile);
  if (!existsSync(path)) return undefined;
  const parsed = schema.safeParse(await readJson(path));
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  throw new FormatError(`${path}: ${issue.path.join('.') || 'the file'}: ${issue.message}`);
}

export async function writeSettings(folder: string, settings: AdapterRecord): Promise<void> {
  await replaceFile(join(folder, settingsFile), (file) => file.writeFile(`${JSON.stringify(settings, null, 2)}\n`));
}
