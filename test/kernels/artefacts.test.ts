// What was built and committed is compared with its record: sources and results.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { fingerprint, staleness } from '../../.ci/sources.mjs';

let root: string;
const write = (path: string, text: string): void => writeFileSync(join(root, path), text);
const artefact = () => {
  const record = `${root}/ptx/SOURCES.sha256`;
  return { root, record, sources: /\.cu$/, rebuild: 'npm run build:ptx' };
};
const stale = (): string[] => staleness(artefact()).map((reason) => reason.replaceAll(`${root}/`, ''));

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'artefact-'));
  mkdirSync(join(root, 'ptx/sm_80'), { recursive: true });
  write('gemm.cu', 'source');
  write('ptx/sm_80/gemm.ptx', 'result');
  write('ptx/SOURCES.sha256', fingerprint(artefact()));
});
afterEach(() => rmSync(root, { recursive: true }));

test('what nothing has touched is fresh, and a record does not cover itself', () => {
  expect(stale()).toEqual([]);
  write('ptx/SOURCES.sha256', fingerprint(artefact()));
  expect(stale()).toEqual([]);
});

test('a source that changed is named', () => {
  write('gemm.cu', 'another source');
  expect(stale()).toEqual(['gemm.cu has changed since ptx/SOURCES.sha256 was written: run npm run build:ptx']);
});

test('a result that was edited, added or deleted is named', () => {
  write('ptx/sm_80/gemm.ptx', 'result, edited by hand');
  expect(stale()).toEqual([
    'ptx/sm_80/gemm.ptx has changed since ptx/SOURCES.sha256 was written: run npm run build:ptx',
  ]);
  rmSync(join(root, 'ptx/sm_80/gemm.ptx'));
  write('ptx/sm_80/norm.ptx', 'result');
  expect(stale()).toEqual([
    'ptx/sm_80/gemm.ptx is gone since ptx/SOURCES.sha256 was written: run npm run build:ptx',
    'ptx/sm_80/norm.ptx is new since ptx/SOURCES.sha256 was written: run npm run build:ptx',
  ]);
});
