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
    const [version, machine, settings, tasks, operations] = await Promise.all([
      client.version(),
      client.machine(),
      client.settings(),
      client.tasks(),
      client.operations(OPERATIONS_KEPT),
    ]);
    this.version = version;
    if (fresh('settings')) this.settings = settings;
    if (fresh('task')) this.tasks = tasks.tasks;
    if (fresh('operation')) this.operations = operations.operations;
    if (fresh('machine')) this.#takeMachine(machine);
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
      case 'task': {
        const task = payload as Task;
        const known = this.tasks.some(({ id: other }) => other === task.id);
        this.tasks = known
          ? this.tasks.map((other) => (other.id === task.id ? task : other))
          : [task, ...this.tasks];
        break;
      }
      case 'settings':
        this.settings = payload as SettingsView;
        break;
      case 'operation': {
        const operation = payload as Operation;
        if (this.operations.some(({ id: other }) => other === operation.id)) break;
        this.operations = [operation, ...this.operations].slice(0, OPERATIONS_KEPT);
        break;
      }
      case 'resync':
        void this.refresh().catch(() => undefined);
        break;
    }
    for (const listener of this.#listeners) listener({ kind: event, data: payload });
  }
}
