import { writeSync } from 'node:fs';
import { MultiBar } from 'cli-progress';

/** Progress of something that takes a while. `note` is what the unit of progress has to say: a loss, a rate. */
export interface ProgressBar {
  update(done: number, note?: string): void;
  stop(): void;
}

const clock = (seconds: number): string => {
  const s = Math.max(0, Math.round(seconds));
  const two = (n: number): string => String(n).padStart(2, '0');
  return s < 3600
    ? `${Math.floor(s / 60)}:${two(s % 60)}`
    : `${Math.floor(s / 3600)}:${two(Math.floor(s / 60) % 60)}:${two(s % 60)}`;
};

/** Plain progress lines come at most this often. */
const lineInterval = 2000;

/**
 * Where a command's words go: results on stdout, warnings and progress on stderr. With `json` stdout is one JSON value and
 * everything else goes to stderr.
 */
export class Output {
  readonly json: boolean;
  readonly #terminal = process.stderr.isTTY === true;
  #bars: MultiBar | undefined;

  constructor(json: boolean) {
    this.json = json;
  }

  line(text = ''): void {
    this.#write(this.json ? 2 : 1, `${text}\n`);
  }

  /** Text without a line break, for generation. */
  text(text: string): void {
    this.#write(this.json ? 2 : 1, text);
  }

  warn(text: string): void {
    this.#write(2, `warning: ${text}\n`);
  }

  /** What the command came to, for machines. */
  result(value: object): void {
    if (this.json) write(1, `${JSON.stringify(value, null, 2)}\n`);
  }

  /** A bar on a terminal, else a line now and then, the last one always. */
  progress(title: string, total: number, done = 0): ProgressBar {
    return this.#terminal ? this.#bar(title, total, done) : lines(title, total, done);
  }

  #bar(title: string, total: number, from: number): ProgressBar {
    const bars = new MultiBar({
      format: `${title} [{bar}] {value}/{total}{note}  ETA {eta_formatted}`,
      etaBuffer: 50,
      // Its handler would swallow Ctrl-C.
      gracefulExit: false,
    });
    const bar = bars.create(total, from, { note: '' });
    const stop = (): void => {
      process.off('exit', stop);
      if (this.#bars !== bars) return;
      this.#bars = undefined;
      bars.update();
      bars.stop();
    };
    this.#bars = bars;
    process.on('exit', stop);
    return { update: (done, note) => bar.update(done, { note: note ? `  ${note}` : '' }), stop };
  }

  /** Above the bar, where there is one and both are on the terminal. */
  #write(fd: 1 | 2, text: string): void {
    if (this.#bars && (fd === 1 ? process.stdout : process.stderr).isTTY) this.#bars.log(text);
    else write(fd, text);
  }
}

/** Synchronous, so that nothing is lost when the process ends at once; a reader that has gone is no error. */
function write(fd: number, text: string): void {
  const bytes = Buffer.from(text);
  for (let at = 0; at < bytes.length; ) {
    try {
      at += writeSync(fd, bytes, at);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === 'EAGAIN') continue;
      if (code === 'EPIPE') return;
      throw error;
    }
  }
}

function lines(title: string, total: number, from: number): ProgressBar {
  const started = performance.now();
  let last = started;
  let finished = false;
  return {
    update(done, note) {
      const now = performance.now();
      if (finished || (done < total && now - last < lineInterval)) return;
      finished = done >= total;
      last = now;
      const left = done > from ? ((now - started) / 1000 / (done - from)) * (total - done) : 0;
      const eta = done < total ? `  ETA ${clock(left)}` : `  in ${clock((now - started) / 1000)}`;
      write(2, `${title} ${done}/${total}${note ? `  ${note}` : ''}${eta}\n`);
    },
    stop() {},
  };
}

/** 0.853 → '85.3%' */
export const percent = (x: number): string => `${(100 * x).toFixed(1)}%`;

/** '85.3% [82.0, 88.1]' */
export const withInterval = ({ accuracy, ci95 }: { accuracy: number; ci95: [number, number] }): string =>
  `${percent(accuracy)} [${(100 * ci95[0]).toFixed(1)}, ${(100 * ci95[1]).toFixed(1)}]`;

export const plural = (n: number, noun: string): string => `${n} ${noun}${n === 1 ? '' : 's'}`;
