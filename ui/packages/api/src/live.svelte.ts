import { Client, type Target } from './client';
import { ApiFailure, failureFromBody, toFailure } from './errors';
import type { BootReport, Machine, Operation, SettingsView, Task, VersionInfo } from './gen/types';
import { readEvents, type ServerEvent } from './sse';

/** State of the link to the supervisor. */
export type Link = 'connecting' | 'live' | 'lost' | 'refused';

const BACKOFF_MS = [500, 1000, 2000, 4000, 8000, 15_000];
/** A stream that says nothing for this long is taken for dead: the supervisor sends a comment more often. */
const SILENCE_MS = 60_000;
const OPERATIONS_KEPT = 200;
const HISTORY_KEPT = 240;

/** One point of the machine's use of memory and processors. */
export interface Sample {
  at: number;
  memory: number;
  cpu: number;
}

/** What is known about the machine, its tasks and the settings, kept fresh by the event stream. */
export class Live {
  link = $state<Link>('connecting');
  failure = $state.raw<ApiFailure | null>(null);
  /** When the next try comes, milliseconds since 1970. */
  retryAt = $state<number | null>(null);
  version = $state.raw<VersionInfo | null>(null);
  machine = $state.raw<Machine | null>(null);
  boot = $state.raw<BootReport | null>(null);
  /** When the boot's report came in, milliseconds since 1970: its times run on from there. */
  bootAt = $state(0);
  tasks = $state.raw<Task[]>([]);
  settings = $state.raw<SettingsView | null>(null);
  operations = $state.raw<Operation[]>([]);
  history = $state.raw<Sample[]>([]);
  client = $state.raw<Client>(new Client({ base: '' }));

  readonly #target: () => Promise<Target>;
  #lastId: string | null = null;
  #tries = 0;
  #stop = new AbortController();
  #wake: (() => void) | null = null;
  #stream: AbortController | null = null;
  /** Counts what arrived per resource, so that an older answer never covers a newer event. */
  #arrived: Record<string, number> = {};
  /** The guest's time of the figures that were taken last: between its reports the same ones are read again. */
  #figures: string | null = null;
  /** What arrives while everything is read anew, one for each reading: it is newer than what is being read. */
  readonly #readings = new Set<{ tasks: Map<string, Task>; operations: Operation[] }>();
  /** Those who wait for a task to end look here after each change. */
  readonly #looks = new Set<() => void>();
  readonly #listeners = new Set<(event: { kind: string; data: unknown }) => void>();

  constructor(target: () => Promise<Target>) {
    this.#target = target;
  }

  /** Calls back on each event after it was taken in. */
  onEvent(listener: (event: { kind: string; data: unknown }) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Keeps the link up until `stop`. */
  async run(): Promise<void> {
    const stop = this.#stop.signal;
    while (!stop.aborted) {
      let failure: ApiFailure;
      try {
        await this.#follow(stop);
        failure = new ApiFailure({ code: 'supervisor_unreachable', message: '', hint: '' }, 0);
      } catch (thrown) {
        failure = toFailure(thrown);
      }
      if (stop.aborted) return;
      this.failure = failure;
      const wait = BACKOFF_MS[Math.min(this.#tries, BACKOFF_MS.length - 1)] ?? 15_000;
      this.#tries += 1;
      // A short gap, as when the supervisor starts anew, is not worth a picture of its own.
      if (failure.refused) this.link = 'refused';
      else if (this.#tries > 2 || this.machine === null) this.link = 'lost';
      this.retryAt = Date.now() + wait;
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, wait);
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
      this.#wake = null;
      this.retryAt = null;
    }
  }

  /** Ends the link. */
  stop(): void {
    this.#stop.abort();
    this.#wake?.();
  }

  /** Leaves the present stream and asks anew how to reach the supervisor. */
  reconnect(): void {
    this.#tries = 0;
    this.#stream?.abort();
    this.#wake?.();
  }

  /** Tries at once instead of at the end of the wait. */
  retryNow(): void {
    this.#wake?.();
  }

  async #follow(stop: AbortSignal): Promise<void> {
    const target = await this.#target();
    const client = new Client(target);
    const quiet = new AbortController();
    this.#stream = quiet;
    let timer = setTimeout(() => quiet.abort(), SILENCE_MS);
    try {
      const response = await fetch(client.url('/api/v1/events'), {
        headers: {
          ...client.headers(),
          Accept: 'text/event-stream',
          ...(this.#lastId === null ? {} : { 'Last-Event-ID': this.#lastId }),
        },
        credentials: 'same-origin',
        cache: 'no-store',
        signal: AbortSignal.any([stop, quiet.signal]),
      });
      if (!response.ok) throw failureFromBody(response.status, await response.text());
      if (!response.body) throw new TypeError('no body');
      const touch = () => {
        clearTimeout(timer);
        timer = setTimeout(() => quiet.abort(), SILENCE_MS);
      };
      const heard = response.body.pipeThrough(
        new TransformStream<Uint8Array, Uint8Array>({
          transform(chunk, controller) {
            touch();
            controller.enqueue(chunk);
          },
        }),
      );
      this.client = client;
      await this.refresh(client);
      this.#tries = 0;
      this.failure = null;
      this.link = 'live';
      for await (const event of readEvents(heard)) this.#take(event);
    } finally {
      clearTimeout(timer);
      quiet.abort();
      this.#stream = null;
    }
  }

  /** Reads everything anew. */
  async refresh(client: Client = this.client): Promise<void> {
    const before = { ...this.#arrived };
    const fresh = (kind: string) => this.#arrived[kind] === before[kind];
    const meanwhile = { tasks: new Map<string, Task>(), operations: [] as Operation[] };
    this.#readings.add(meanwhile);
    try {
      const [version, machine, settings, tasks, operations] = await Promise.all([
        client.version(),
        client.machine(),
        client.settings(),
        client.tasks(),
        client.operations(OPERATIONS_KEPT),
      ]);
      this.version = version;
      if (fresh('settings')) this.settings = settings;
      if (fresh('machine')) this.#takeMachine(machine);
      const read = new Set(tasks.tasks.map(({ id }) => id));
      this.tasks = [
        ...[...meanwhile.tasks.values()].filter(({ id }) => !read.has(id)).reverse(),
        ...tasks.tasks.map((task) => meanwhile.tasks.get(task.id) ?? task),
      ];
      const newer = meanwhile.operations.filter(
        ({ id }) => !operations.operations.some((one) => one.id === id),
      );
      this.operations = [...newer, ...operations.operations].slice(0, OPERATIONS_KEPT);
    } finally {
      this.#readings.delete(meanwhile);
    }
    for (const look of this.#looks) look();
  }

  /** Takes in a task that was begun here: its first event may still be on its way. */
  begun(task: Task): void {
    if (!this.tasks.some(({ id }) => id === task.id)) this.#takeTask(task);
  }

  /** Waits until a task that was begun here has ended; throws its error when it did not succeed. */
  ended(task: Task): Promise<Task> {
    this.begun(task);
    return new Promise((resolve, reject) => {
      const look = () => {
        const seen = this.tasks.find(({ id }) => id === task.id);
        if (seen && !seen.ended) return;
        this.#looks.delete(look);
        if (seen?.state === 'succeeded') resolve(seen);
        // One that the supervisor no longer knows will not end any more.
        else if (!seen) reject(new ApiFailure({ code: 'not_found', message: '', hint: '' }, 0));
        else reject(new ApiFailure(seen.error ?? { code: 'cancelled', message: seen.message, hint: '' }, 0));
      };
      this.#looks.add(look);
      look();
    });
  }

  #takeTask(task: Task): void {
    for (const { tasks } of this.#readings) tasks.set(task.id, task);
    const known = this.tasks.some(({ id }) => id === task.id);
    this.tasks = known
      ? this.tasks.map((other) => (other.id === task.id ? task : other))
      : [task, ...this.tasks];
    for (const look of this.#looks) look();
  }

  /** Reads the machine's use of memory and processors again: they change without an event. */
  async measure(): Promise<void> {
    const before = this.#arrived['machine'];
    const machine = await this.client.machine();
    if (this.#arrived['machine'] === before) this.#takeMachine(machine);
  }

  #takeBoot(boot: BootReport): void {
    // The same boot never runs backwards: a machine document can be older than the boot's own event.
    const same = this.boot?.attempt === boot.attempt && this.boot.started_at === boot.started_at;
    if (
      same &&
      this.boot &&
      (this.boot.elapsed_ms > boot.elapsed_ms || (this.boot.finished && !boot.finished))
    )
      return;
    this.boot = boot;
    this.bootAt = Date.now();
  }

  #takeMachine(machine: Machine): void {
    this.machine = machine;
    if (machine.boot) this.#takeBoot(machine.boot);
    const guest = machine.phase === 'running' ? machine.guest : null;
    if (!guest) {
      if (machine.phase !== 'running') this.history = [];
      return;
    }
    if (this.#figures === guest.unix_time_ns && this.history.length > 0) return;
    this.#figures = guest.unix_time_ns;
    const sample = { at: Date.now(), memory: guest.memory.used, cpu: guest.cpu_share };
    this.history = [...this.history, sample].slice(-HISTORY_KEPT);
  }

  #take({ id, event, data }: ServerEvent): void {
    if (id !== null) this.#lastId = id;
    let payload: unknown;
    try {
      payload = JSON.parse(data);
    } catch {
      return;
    }
    this.#arrived[event] = (this.#arrived[event] ?? 0) + 1;
    switch (event) {
      case 'machine':
        this.#takeMachine(payload as Machine);
        break;
      case 'boot':
        this.#takeBoot(payload as BootReport);
        break;
      case 'task':
        this.#takeTask(payload as Task);
        break;
      case 'settings':
        this.settings = payload as SettingsView;
        break;
      case 'operation': {
        const operation = payload as Operation;
        for (const { operations } of this.#readings) operations.unshift(operation);
        if (this.operations.some(({ id: other }) => other === operation.id)) break;
        this.operations = [operation, ...this.operations].slice(0, OPERATIONS_KEPT);
        break;
      }
      case 'resync':
        // What was missed must not stay so: where it can't be read now, the link is taken up anew and reads it then.
        void this.refresh().catch(() => this.#stream?.abort());
        break;
    }
    for (const listener of this.#listeners) listener({ kind: event, data: payload });
  }
}
