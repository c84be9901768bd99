// Like kernels/wasm/worker.mjs, but a worker that traps ends without telling anybody, as one that is killed does.
import { parentPort, workerData } from 'node:worker_threads';

const { glue, module, memory, thread } = workerData;
const kernels = await import(glue);
kernels.initSync({ module, memory, thread_stack_size: 1 << 20 });
parentPort.postMessage('ready');
try {
  kernels.worker_loop(thread);
} catch {
  process.exit(3);
}
