// Preloaded into the command by the crash tests: the process kills itself at the n-th event of a kind, LORIKEET_KILL=KIND:N.
//   rename      just before a file or folder is renamed: inside the writing of a checkpoint, of metrics or of an adapter
//   microbatch  when a micro-batch's gradients are added up: for odd n, between the two of a step
import fs from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import timers from 'node:timers/promises';

const [kind, n] = process.env.LORIKEET_KILL.split(':');
let left = Number(n);
const count = () => {
  if (--left === 0) process.kill(process.pid, 'SIGKILL');
};

const { rename } = fs;
fs.rename = (from, to) => {
  if (kind === 'rename' && from.includes('step-')) count();
  return rename(from, to);
};
const { setImmediate } = timers;
timers.setImmediate = (...args) => {
  if (kind === 'microbatch' && new Error().stack.includes('peft/step.ts')) count();
  return setImmediate(...args);
};
syncBuiltinESMExports();
