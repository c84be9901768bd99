#!/usr/bin/env node
// The `lorikeet` command. A published package holds dist/ and runs it on whatever Node it is started with; a clone runs its
// sources, which need a Node that strips types: if this one is too old, the one that `npm install` brought takes over.
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import * as modules from 'node:module';
import { constants } from 'node:os';
import { fileURLToPath } from 'node:url';

// Stripping types and compiling take half a second and 30 MB: once only, where Node (22.8 or later) can keep the result.
modules.enableCompileCache?.();

const sources = new URL('main.ts', import.meta.url);
const runsTypeScript = Number.parseInt(process.versions.node, 10) >= 24;

if (!existsSync(sources)) await import('../dist/cli/main.js');
else if (runsTypeScript) await import(sources.href);
else handOver(fileURLToPath(new URL('../node_modules/node/bin/node', import.meta.url)));

/** Runs the sources on another Node; its exit status, or the signal that ended it, becomes ours. */
function handOver(node) {
  if (!existsSync(node)) {
    console.error(`lorikeet: Node ${process.versions.node} cannot run the sources (24 or later can): run npm install`);
    process.exit(1);
  }
  const child = spawn(node, [fileURLToPath(sources), ...process.argv.slice(2)], { stdio: 'inherit' });
  // A terminal sends Ctrl-C to both processes, so it must not be passed on a second time.
  const terminal = process.stdin.isTTY;
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
    process.on(signal, () => {
      if (!(terminal && signal === 'SIGINT')) child.kill(signal);
    });
  }
  child.on('exit', (code, signal) => process.exit(code ?? 128 + constants.signals[signal]));
}
