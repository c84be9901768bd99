// A thread of the WASM backend: instantiates the module over the shared memory and runs chunks until the pool is closed.
// Plain JavaScript, so that it starts as it is from the sources and from dist/.
import { parentPort, workerData } from 'node:worker_threads';

const { glue, module, memory, thread, failures } = workerData;
const kernels = await import(glue);
kernels.initSync({ module, memory, thread_stack_size: 1 << 20 });
parentPort.postMessage('ready');
try {
  kernels.worker_loop(thread);
} catch (error) {
  // The message goes first: the main thread reads it when it sees the error word.
  failures.postMessage(error.message);
  kernels.fail_worker(thread);
}
failures.close();
