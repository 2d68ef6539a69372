import { ApiFailure, failureFromBody, toFailure } from './errors';
import type {
  BootReport,
  ClusterOverview,
  DoctorReport,
  EventList,
  HostFacts,
  ImageFetch,
  ImageList,
  Machine,
  MachineProposal,
  MachineSetup,
  NodeList,
  OperationList,
  PodList,
  SettingsView,
  Snapshot,
  SnapshotRequest,
  Surface,
  Task,
  TaskList,
  Ticket,
  VersionInfo,
} from './gen/types';

/** How to reach the supervisor. */
export interface Target {
  base: string;
  token?: string;
}

/** A stream of lines that can be stopped. */
export interface LineStream {
  /** Ends the stream. */
  stop(): void;
  /** Settles when the stream ended: with null when it simply ended, else with what failed. */
  done: Promise<ApiFailure | null>;
}

/** A call is given up after this long without an answer. */
const DEADLINE_MS = 20_000;
/** How often a task that is waited for is looked at. */
const TASK_LOOK_MS = 150;

type Json = Record<string, unknown> | unknown[] | null;
type MachineVerb = 'start' | 'suspend' | 'resume' | 'stop' | 'restart' | 'kill' | 'reset';

/** A key that makes a repeated request harmless. */
export function idempotencyKey(): string {
  const random = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(random, (byte) => byte.toString(16).padStart(2, '0')).join('');
}

/** Typed calls of the supervisor's API. */
export class Client {
  readonly #target: Target;

  constructor(target: Target) {
    this.#target = target;
  }

  /** The headers that sign a call in. */
  headers(): Record<string, string> {
    return this.#target.token ? { Authorization: `Bearer ${this.#target.token}` } : {};
  }

  /** The whole address of a path. */
  url(path: string): string {
    return `${this.#target.base}${path}`;
  }

  /** One call. A mutation gets an idempotency key, and is tried once more when the network failed under it. */
  async #call<Answer>(method: string, path: string, body?: Json, signal?: AbortSignal): Promise<Answer> {
    const mutation = method !== 'GET';
    const headers = {
      ...this.headers(),
      ...(body === undefined ? {} : { 'Content-Type': 'application/json' }),
      ...(mutation ? { 'Idempotency-Key': idempotencyKey() } : {}),
    };
    const attempt = async (): Promise<Answer> => {
      const deadline = AbortSignal.timeout(DEADLINE_MS);
      const response = await fetch(this.url(path), {
        method,
        headers,
        credentials: 'same-origin',
        cache: 'no-store',
        signal: signal ? AbortSignal.any([signal, deadline]) : deadline,
        body: body === undefined ? null : JSON.stringify(body),
      });
      const text = await response.text();
      if (!response.ok) throw failureFromBody(response.status, text);
      return (text ? JSON.parse(text) : null) as Answer;
    };
    try {
      return await attempt();
    } catch (thrown) {
      const failure = toFailure(thrown);
      if (!mutation || !failure.unreachable || signal?.aborted) throw failure;
      // The same key goes with the second try, so that it can't be done twice.
      return await attempt().catch((again: unknown) => {
        throw toFailure(again);
      });
    }
  }

  get<Answer>(path: string, signal?: AbortSignal): Promise<Answer> {
    return this.#call<Answer>('GET', `/api/v1${path}`, undefined, signal);
  }

  version = () => this.get<VersionInfo>('/version');
  machine = () => this.get<Machine>('/machine');
  boot = () => this.get<BootReport>('/machine/boot');
  proposal = () => this.get<MachineProposal>('/machine/proposal');
  host = () => this.get<HostFacts>('/host');
  doctor = () => this.get<DoctorReport>('/doctor');
  settings = () => this.get<SettingsView>('/settings');
  tasks = () => this.get<TaskList>('/tasks');

  operations(limit: number, before?: number): Promise<OperationList> {
    return this.get(`/operations?limit=${limit}${before === undefined ? '' : `&before=${before}`}`);
  }

  overview = (signal?: AbortSignal) => this.get<ClusterOverview>('/cluster/overview', signal);
  nodes = (signal?: AbortSignal) => this.get<NodeList>('/cluster/nodes', signal);
  pods = (signal?: AbortSignal) => this.get<PodList>('/cluster/pods', signal);
  events = (signal?: AbortSignal) => this.get<EventList>('/cluster/events', signal);

  /** Waits until a task has ended; throws its error when it did not succeed, or `timeout` after the deadline. */
  async finished(task: Task, deadlineMs: number): Promise<Task> {
    const end = performance.now() + deadlineMs;
    let seen = task;
    while (!seen.ended) {
      if (performance.now() > end) {
        throw new ApiFailure({ code: 'timeout', message: seen.message, hint: '' }, 0);
      }
      await new Promise((resolve) => setTimeout(resolve, TASK_LOOK_MS));
      seen = await this.get<Task>(`/tasks/${encodeURIComponent(task.id)}`);
    }
    if (seen.state !== 'succeeded') {
      throw new ApiFailure(seen.error ?? { code: 'cancelled', message: seen.message, hint: '' }, 0);
    }
    return seen;
  }

  /** Makes the machine. */
  create(setup: MachineSetup): Promise<Task> {
    return this.#call('POST', '/api/v1/machine', { ...setup });
  }

  /** Asks for a change of the machine. */
  verb(verb: MachineVerb, body: Record<string, unknown> = {}): Promise<Task> {
    return this.#call('POST', `/api/v1/machine/${verb}`, body);
  }

  snapshots = () => this.get<Snapshot[]>('/machine/snapshots');

  snapshot(request: SnapshotRequest): Promise<Task> {
    return this.#call('POST', '/api/v1/machine/snapshots', { ...request });
  }

  restore(name: string): Promise<Task> {
    return this.#call('POST', `/api/v1/machine/snapshots/${encodeURIComponent(name)}/restore`, {});
  }

  deleteSnapshot(name: string): Promise<Task> {
    return this.#call('DELETE', `/api/v1/machine/snapshots/${encodeURIComponent(name)}`);
  }

  images = () => this.get<ImageList>('/images');

  /** Brings an image from a folder or an address. */
  fetchImage(request: ImageFetch): Promise<Task> {
    return this.#call('POST', '/api/v1/images/fetch', { ...request });
  }

  /** Deletes an image that no machine needs. */
  removeImage(version: string): Promise<ImageList> {
    return this.#call('DELETE', `/api/v1/images/${encodeURIComponent(version)}`);
  }

  /** Changes settings by a JSON merge patch. */
  patchSettings(patch: Record<string, unknown>): Promise<SettingsView> {
    return this.#call('PATCH', '/api/v1/settings', patch);
  }

  cancelTask(id: string): Promise<Task> {
    return this.#call('POST', `/api/v1/tasks/${encodeURIComponent(id)}/cancel`, {});
  }

  /** Ends the supervisor, after it has put the machine to rest as the settings say: by a task where there is a need. */
  async quit(): Promise<Task | null> {
    const answer = await this.#call<Task | { ended: true }>('POST', '/api/v1/quit', { suspend: true });
    return 'id' in answer ? answer : null;
  }

  /** A link that signs a browser in once. */
  ticket(surface: Surface): Promise<Ticket> {
    return this.#call('POST', '/api/v1/tickets', { for: surface });
  }

  /** A text that may go on: calls back with whole lines as they come. */
  lines(path: string, onLines: (lines: string[]) => void): LineStream {
    const abort = new AbortController();
    const run = async (): Promise<ApiFailure | null> => {
      try {
        const response = await fetch(this.url(`/api/v1${path}`), {
          headers: this.headers(),
          credentials: 'same-origin',
          cache: 'no-store',
          signal: abort.signal,
        });
        if (!response.ok) throw failureFromBody(response.status, await response.text());
        if (!response.body) return null;
        const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
        let rest = '';
        for (;;) {
          const { value, done } = await reader.read();
          if (done) break;
          const parts = (rest + value).split('\n');
          rest = parts.pop() ?? '';
          if (parts.length > 0) onLines(parts.map((line) => line.replace(/\r+$/, '')));
        }
        if (rest) onLines([rest]);
        return null;
      } catch (thrown) {
        return abort.signal.aborted ? null : toFailure(thrown);
      }
    };
    return { stop: () => abort.abort(), done: run() };
  }

  /** Opens a WebSocket, signed in as the calls are. */
  socket(path: string): WebSocket {
    const base = this.#target.base || window.location.origin;
    const protocols = this.#target.token
      ? ['alcove.v1', `alcove.bearer.${this.#target.token}`]
      : ['alcove.v1'];
    const socket = new WebSocket(`${base.replace(/^http/, 'ws')}/api/v1${path}`, protocols);
    socket.binaryType = 'arraybuffer';
    return socket;
  }
}
