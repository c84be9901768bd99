/** What the command's exit status says. Documented in `lorikeet --help` and the README from this table. */
export const exitCodes = {
  ok: { code: 0, meaning: 'success' },
  goal: {
    code: 1,
    meaning: 'the goal was missed: npm start without a significant gain, doctor where Lorikeet cannot run',
  },
  usage: { code: 2, meaning: 'wrong flags or configuration' },
  input: { code: 3, meaning: 'a model, adapter or data file is not what it should be' },
  files: { code: 4, meaning: 'the file system refused: disk full, no permission, no such file' },
  fetch: { code: 5, meaning: 'a model could not be fetched' },
  device: { code: 6, meaning: 'the device is missing (doctor: no GPU can be used), failed or has too little memory' },
  diverged: { code: 7, meaning: 'training ended at a loss or gradient that is not finite' },
  internal: { code: 70, meaning: 'a fault in Lorikeet itself' },
  interrupted: { code: 130, meaning: 'interrupted (Ctrl-C or SIGTERM); training saved what it had' },
} as const;

export type Exit = keyof typeof exitCodes;

export const exitHelp = (): string =>
  Object.values(exitCodes)
    .map(({ code, meaning }) => `  ${String(code).padStart(3)}  ${meaning}`)
    .join('\n');

/** Ends the command with this status and one sentence. */
export class CliError extends Error {
  override name = 'CliError';
  readonly exit: Exit;

  constructor(exit: Exit, message: string) {
    super(message);
    this.exit = exit;
  }
}

export const usageError = (message: string): CliError => new CliError('usage', message);

/** Errors of the libraries by name. Their messages name the thing already. */
const byName: Record<string, Exit> = {
  FormatError: 'input',
  DataError: 'input',
  ShapeError: 'input',
  PullError: 'fetch',
  OutOfMemoryError: 'device',
  MissingKernelError: 'device',
  CudaError: 'device',
  NoDriver: 'device',
  NoDevice: 'device',
  OutOfMemory: 'device',
  InvalidPtx: 'device',
  PtxVersionUnsupported: 'device',
  LaunchError: 'device',
  MemoryError: 'device',
  NonFiniteError: 'diverged',
  // The libraries refuse what they are given with plain errors; faults of ours are TypeErrors and the like.
  Error: 'input',
  RangeError: 'input',
};

const systemReasons: Record<string, string> = {
  ENOSPC: 'no space left on the disk',
  EDQUOT: 'the disk quota is used up',
  EFBIG: 'the file may not grow that large',
  EACCES: 'permission denied',
  EPERM: 'not permitted',
  EROFS: 'the file system is read-only',
  ENOENT: 'no such file or folder',
  ENOTDIR: 'a part of the path is not a folder',
  EISDIR: 'it is a folder',
  EEXIST: 'it exists already',
  EMFILE: 'too many open files',
};

/** An error of the file system, as Node reports it. */
const systemError = (error: unknown): NodeJS.ErrnoException | undefined =>
  error instanceof Error && 'syscall' in error ? (error as NodeJS.ErrnoException) : undefined;

/** The status and the sentence for anything that was thrown. */
function explain(error: unknown): { exit: Exit; message: string } {
  if (error instanceof CliError) return { exit: error.exit, message: error.message };
  if (!(error instanceof Error)) return { exit: 'internal', message: String(error) };
  // A file that could not be written is named by the library, the reason by the system.
  const system = systemError(error) ?? systemError(error.cause);
  if (system) {
    const { code = '', path, syscall } = system;
    const named = system === error ? (path ?? 'a file') : error.message.replace(`: ${system.message}`, '');
    return { exit: 'files', message: `${named}: ${systemReasons[code] ?? system.message} (${code}, ${syscall})` };
  }
  const exit = byName[error.name] ?? 'internal';
  if (exit !== 'internal') return { exit, message: error.message };
  return { exit, message: `internal fault: ${error.name}: ${error.message} (LORIKEET_DEBUG=1 shows where)` };
}

/** Ends the process with the error's sentence and status, whatever else is still open. */
export function fail(error: unknown): never {
  const { exit, message } = explain(error);
  process.stderr.write(`lorikeet: ${message}\n`);
  if (process.env.LORIKEET_DEBUG) console.error(error);
  process.exit(exitCodes[exit].code);
}
