import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CudaError, InvalidPtx } from '../errors.ts';

/** What NVIDIA's assembler says of a module: its `-v` log, and registers per thread by kernel. */
export interface Assembly {
  readonly log: string;
  readonly registers: ReadonlyMap<string, number>;
}

/** Assembles PTX with the program `ptxas` for `architecture` (`sm_80`). Throws InvalidPtx with its log when it refuses, CudaError without it. */
export function assemble(ptxas: string, ptx: string, architecture: string, name: string): Assembly {
  const folder = mkdtempSync(join(tmpdir(), 'ptxas-'));
  try {
    const input = join(folder, 'module.ptx');
    writeFileSync(input, ptx);
    const { status, error, stdout, stderr } = spawnSync(
      ptxas,
      ['-v', `-arch=${architecture}`, '-o', join(folder, 'module.cubin'), input],
      { encoding: 'utf8' },
    );
    if (error !== undefined) {
      const message = `${name}: the assembler ${ptxas} does not run: ${error.message}`;
      throw new CudaError('CUDA_ERROR_JIT_COMPILER_NOT_FOUND', message, { cause: error });
    }
    const log = stdout + stderr;
    if (status !== 0) throw new InvalidPtx('CUDA_ERROR_INVALID_PTX', `${name}: ptxas refuses it\n${log}`, log);
    const registers = new Map<string, number>();
    let kernel = '';
    for (const line of log.split('\n')) {
      kernel = /Compiling entry function '([^']+)'/.exec(line)?.[1] ?? kernel;
      const used = /Used (\d+) registers/.exec(line);
      if (used !== null) registers.set(kernel, Number(used[1]));
    }
    return { log, registers };
  } finally {
    rmSync(folder, { recursive: true });
  }
}
