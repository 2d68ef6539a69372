import { type ApiFailure, toFailure } from './errors';

/** Something that is read again and again while it is looked at. */
export class Poll<Value> {
  /** What was read last; stays while a later reading fails. */
  value = $state.raw<Value | null>(null);
  /** Why the last reading failed. */
  failure = $state.raw<ApiFailure | null>(null);

  readonly #read: (signal: AbortSignal) => Promise<Value>;
  readonly #every: number;
  #again: (() => void) | null = null;
  /** How many look at it now. */
  #users = 0;
  #end: (() => void) | null = null;

  constructor(read: (signal: AbortSignal) => Promise<Value>, everyMs: number) {
    this.#read = read;
    this.#every = everyMs;
  }

  /** Reads until the returned function is called, for as long as anyone looks. Rests while the page is hidden. */
  run(): () => void {
    this.#users += 1;
    this.#end ??= this.#begin();
    let left = false;
    return () => {
      if (left) return;
      left = true;
      this.#users -= 1;
      if (this.#users > 0) return;
      this.#end?.();
      this.#end = null;
    };
  }

  #begin(): () => void {
    const stop = new AbortController();
    let timer: ReturnType<typeof setTimeout> | undefined;
    let busy = false;
    const round = async () => {
      clearTimeout(timer);
      if (busy || stop.signal.aborted) return;
      busy = true;
      const from = performance.now();
      try {
        const value = await this.#read(stop.signal);
        // An answer to a question that nobody asks any more may be about what was forgotten since.
        if (stop.signal.aborted) return;
        this.value = value;
        this.failure = null;
      } catch (thrown) {
        if (!stop.signal.aborted) this.failure = toFailure(thrown);
      }
      busy = false;
      if (stop.signal.aborted || document.hidden) return;
      // A reading that is expensive is made less often, so that looking never becomes the load.
      timer = setTimeout(() => void round(), Math.max(this.#every, (performance.now() - from) * 10));
    };
    const seen = () => {
      if (!document.hidden) void round();
    };
    this.#again = () => void round();
    document.addEventListener('visibilitychange', seen);
    void round();
    return () => {
      stop.abort();
      clearTimeout(timer);
      document.removeEventListener('visibilitychange', seen);
      this.#again = null;
    };
  }

  /** Reads now. */
  refresh(): void {
    this.#again?.();
  }

  /** Drops what was read. */
  forget(): void {
    this.value = null;
    this.failure = null;
  }
}
