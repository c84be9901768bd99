import { readFile } from 'node:fs/promises';
import { closestMatch } from 'leven';
import { parse, stringify, YAMLParseError } from 'yaml';
import { CliError, usageError } from './exit.ts';
import { flagName, type OptionName, options, type Values } from './options.ts';

/** What a run writes into its configuration beside its options; reading it back ignores this key. */
const recordKey = 'record';

/** Options as they were given, by name, before any default. */
export type Given = Partial<Record<OptionName, unknown>>;

/**
 * The options in a YAML file, by their flags' names.
 * @throws CliError naming file and key: not YAML, a key that `accepted` does not have (with a suggestion), a wrong value
 */
export async function readConfig(path: string, accepted: readonly OptionName[]): Promise<Given> {
  const source = await readFile(path, 'utf8');
  let content: unknown;
  try {
    content = parse(source) ?? {};
  } catch (error) {
    if (!(error instanceof YAMLParseError)) throw error;
    throw usageError(`${path}: not YAML: ${error.message.split('\n')[0]}`);
  }
  if (typeof content !== 'object' || Array.isArray(content)) throw usageError(`${path}: expected keys with values`);
  const names = new Map(accepted.filter((name) => name !== 'config').map((name) => [flagName(name), name]));
  const given: Given = {};
  for (const [key, value] of Object.entries(content as object)) {
    if (key === recordKey || value === null) continue;
    const name = names.get(key);
    if (!name) throw usageError(`${path}: ${unknownKey(key, [...names.keys()])}`);
    given[name] = checked(name, value, `${path}: ${key}`);
  }
  return given;
}

function unknownKey(key: string, known: string[]): string {
  const close = closestMatch(key.replaceAll('_', '-'), known, { maxDistance: Math.max(2, Math.ceil(key.length / 3)) });
  const elsewhere = Object.keys(options).some((name) => flagName(name) === key);
  const reason = elsewhere ? `'${key}' is an option of another command` : `unknown key '${key}'`;
  return close ? `${reason}; did you mean '${close}'?` : `${reason}; there are ${known.join(', ')}`;
}

function checked(name: OptionName, value: unknown, where: string): unknown {
  const { kind } = options[name];
  const result = kind.schema.safeParse(value);
  if (!result.success) throw usageError(`${where}: expected ${kind.expected}, found ${JSON.stringify(value)}`);
  return result.data;
}

/** Flags as they came from the command line, checked. @throws CliError naming the flag */
export function checkFlags(flags: Given): Given {
  const entries = Object.entries(flags).map(([name, value]) => [
    name,
    checked(name as OptionName, value, `--${flagName(name)}`),
  ]);
  return Object.fromEntries(entries);
}

/** Given values where there are some, defaults elsewhere. Of several sources the first counts. */
export function resolve<K extends OptionName>(names: readonly K[], ...sources: Given[]): Values<K> {
  const entries = names.map((name) => [
    name,
    sources.find((source) => source[name] !== undefined)?.[name] ?? options[name].default,
  ]);
  return Object.fromEntries(entries) as Values<K>;
}

/** What `writeConfig` recorded beside the options. */
export async function readRecord(path: string): Promise<Record<string, unknown>> {
  return parse(await readFile(path, 'utf8'))?.[recordKey] ?? {};
}

/** Options that say how a command is run, not what it computes. */
const unrecorded: readonly OptionName[] = ['config', 'json', 'out', 'resume'];

/** A configuration file that gives these values again. `record` is for its readers alone. */
export function writeConfig(values: Partial<Values>, record: Record<string, unknown>): string {
  const entries = Object.entries(values).flatMap(([name, value]) =>
    value === undefined || unrecorded.includes(name as OptionName) ? [] : [[flagName(name), value]],
  );
  return stringify({ ...Object.fromEntries(entries), [recordKey]: record });
}

/** A value that a command cannot do without. @throws CliError naming the flag */
export function need<T>(value: T | undefined, name: OptionName, why = ''): T {
  if (value === undefined) throw new CliError('usage', `--${flagName(name)} is missing${why && `: ${why}`}`);
  return value;
}
