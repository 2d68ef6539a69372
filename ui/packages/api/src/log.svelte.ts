import type { LineStream } from './client';
import type { ApiFailure } from './errors';

const BACKOFF_MS = [1000, 2000, 4000, 8000, 15_000];
/** What another try alone doesn't mend. */
const FINAL: readonly string[] = ['not_found', 'bad_request', 'unsupported'];

/** How a log stands: it is being read, it broke off, or its end was reached. */
export type LogState = 'reading' | 'broken' | 'ended';

/** A log that is read, and read anew where it broke off while it was followed. */
export class LogReader {
  lines = $state.raw<string[]>([]);
  /** How many lines came in all; more than are kept when old ones were dropped. */
  total = $state(0);
  state = $state<LogState>('reading');
  /** Why it broke off. */
  failure = $state.raw<ApiFailure | null>(null);
  /** When it is tried again by itself, milliseconds since 1970. */
  retryAt = $state<number | null>(null);

  readonly #open: (onLines: (lines: string[]) => void) => LineStream;
  readonly #kept: number;
  readonly #follows: boolean;
  #stream: LineStream | null = null;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #tries = 0;
  #stopped = false;

  /** `open` begins to read; of what comes, the last `kept` lines are held. One that `follows` has no end of its own. */
  constructor(open: (onLines: (lines: string[]) => void) => LineStream, kept: number, follows: boolean) {
    this.#open = open;
    this.#kept = kept;
    this.#follows = follows;
  }

  /** Reads until the returned function is called. */
  run(): () => void {
    this.#stopped = false;
    this.#read();
    return () => {
      this.#stopped = true;
      clearTimeout(this.#timer);
      this.#stream?.stop();
    };
  }

  /** Reads anew, at once. */
  again(): void {
    if (!this.#stopped) this.#read();
  }

  #read(): void {
    clearTimeout(this.#timer);
    this.#stream?.stop();
    this.retryAt = null;
    let got: string[] = [];
    let came = 0;
    let drawing = false;
    let over = false;
    const draw = () => {
      drawing = false;
      if (over || this.#stopped || this.#stream !== stream) return;
      this.lines = got.slice();
      this.total = came;
      this.state = 'reading';
      this.failure = null;
      this.#tries = 0;
    };
    const stream = this.#open((more) => {
      // The log is told from some lines before its end again: these take the place of what was there.
      for (const line of more) got.push(line);
      came += more.length;
      if (got.length > this.#kept) got = got.slice(-this.#kept);
      // Many small pieces are drawn once a frame.
      if (drawing) return;
      drawing = true;
      if (typeof requestAnimationFrame === 'function') requestAnimationFrame(draw);
      else setTimeout(draw);
    });
    this.#stream = stream;
    void stream.done.then((failure) => {
      if (this.#stopped || this.#stream !== stream) return;
      if (came > 0) draw();
      over = true;
      this.failure = failure;
      this.state = failure ? 'broken' : 'ended';
      if (!failure || !this.#follows || failure.refused || FINAL.includes(failure.error.code)) return;
      const wait = BACKOFF_MS[Math.min(this.#tries, BACKOFF_MS.length - 1)] ?? 15_000;
      this.#tries += 1;
      this.retryAt = Date.now() + wait;
      this.#timer = setTimeout(() => this.#read(), wait);
    });
  }
}
