import { existsSync, readFileSync } from 'node:fs';

/** package.json is one folder above the sources, two above dist/cli. */
const manifest = ['../package.json', '../../package.json']
  .map((path) => new URL(path, import.meta.url))
  .find((url) => existsSync(url)) as URL;

/** This package's version. */
export const version: string = JSON.parse(readFileSync(manifest, 'utf8')).version;
