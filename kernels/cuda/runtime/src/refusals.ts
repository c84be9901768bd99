// What both halves refuse in the same words.
import { CudaError } from './errors.ts';

/** Throws RangeError for what is no number of bytes. */
export function checkSize(bytes: number, what: string): void {
  if (!(Number.isSafeInteger(bytes) && bytes >= 0)) throw new RangeError(`${what} of ${bytes} bytes`);
}

/** For what cannot be done on a stream while it is recorded. */
export const onRecordedStream = (what: string): CudaError =>
  new CudaError('CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED', `${what} on a stream that is being recorded into a graph`);

/** For a recording that begins inside of another. */
export const nestedCapture = (): CudaError =>
  new CudaError('CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED', 'capture while another graph is being recorded');
