// `npm test`: lint and format, types, dead code, layers, generated files, all tests, then dist/ on the system's own Node.
// Every step runs, whatever failed before it; the last line is the sum. Arguments go to vitest.
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { artefacts, staleness } from './sources.mjs';
import { runVitest } from './vitest.mjs';

const sum = { passed: 0, failed: 0, skipped: 0 };
const failures = [];
let cuda;

step('lint and format', () => script('lint'));
step('types', () => script('types'));
step('dead code', () => script('dead-code'));
step('imports point down', () => script('layers'));
step('generated files are fresh', () => {
  const stale = Object.values(artefacts).flatMap(staleness);
  for (const reason of stale) console.error(reason);
  return verdict(stale.length === 0);
});
step('tests', () => {
  const counts = runVitest(process.argv.slice(2));
  cuda = counts.cuda;
  return counts;
});
step('build of dist/', () => script('build'));
step("dist/ on the system's Node", testDist);

if (failures.length > 0) console.error(`\nFailed: ${failures.join(', ')}`);
// A line alone: a busy machine is no defect.
console.log(`\nCUDA tests: ${cuda}, a worker's time summed`);
console.log(`\n${sum.passed} passed, ${sum.failed} failed, ${sum.skipped} skipped`);
process.exit(sum.failed === 0 ? 0 : 1);

function step(name, run) {
  console.log(`\n# ${name}`);
  const counts = run();
  for (const key of Object.keys(sum)) sum[key] += counts[key];
  if (counts.failed > 0) failures.push(name);
}

function script(name) {
  return verdict(spawnSync('npm', ['run', '--silent', name], { stdio: 'inherit' }).status === 0);
}

function verdict(good) {
  return { passed: good ? 1 : 0, failed: good ? 0 : 1, skipped: 0 };
}

/** Runs test/dist with node:test, which every Node has; the sources' own runner needs a newer one. */
function testDist() {
  const node = systemNode();
  console.log(`${node} ${spawnSync(node, ['--version'], { encoding: 'utf8' }).stdout}`);
  const report = join(tmpdir(), `lorikeet-dist-${process.pid}.tap`);
  const reporters = ['spec', 'stdout', 'tap', report];
  const options = reporters.map((value, i) => `--test-reporter${i % 2 ? '-destination' : ''}=${value}`);
  const files = readdirSync('test/dist').filter((name) => name.endsWith('.test.mjs'));
  const { status } = spawnSync(node, ['--test', ...options, ...files.map((name) => join('test/dist', name))], {
    stdio: 'inherit',
  });
  if (!existsSync(report)) return verdict(false);
  const tap = readFileSync(report, 'utf8');
  rmSync(report);
  const count = (word) => Number(new RegExp(`^# ${word} (\\d+)$`, 'm').exec(tap)?.[1] ?? 0);
  const failed = count('fail') + count('cancelled');
  return { passed: count('pass'), failed: failed || (status === 0 ? 0 : 1), skipped: count('skipped') + count('todo') };
}

/** The Node that npm itself runs on, else the first one on the path that is not ours. */
function systemNode() {
  if (process.env.npm_node_execpath) return process.env.npm_node_execpath;
  const folders = process.env.PATH.split(delimiter).filter((folder) => !folder.includes('node_modules'));
  return folders.map((folder) => join(folder, 'node')).find(existsSync) ?? process.execPath;
}
