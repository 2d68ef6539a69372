import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { ApiFailure, Client, Live, LogReader, readEvents, toFailure } from '../../packages/api/src';
import { startFake } from '../fake/server.mjs';

type Fake = Awaited<ReturnType<typeof startFake>>;
let fake: Fake;
let client: Client;

beforeEach(async () => {
  fake = await startFake({ scenario: 'running', bootSpeed: 100 });
  client = new Client({ base: fake.url, token: 'secret' });
});
afterEach(() => {
  vi.restoreAllMocks();
  return fake.close();
});

const body = (...chunks: string[]) =>
  new ReadableStream<Uint8Array>({
    start(controller) {
      for (const chunk of chunks) controller.enqueue(new TextEncoder().encode(chunk));
      controller.close();
    },
  });
async function all(stream: ReadableStream<Uint8Array>) {
  const found = [];
  for await (const event of readEvents(stream)) found.push(event);
  return found;
}

describe('server-sent events', () => {
  test('blocks, comments, several data lines and ids', async () => {
    expect(await all(body(': hello\n\nid: 7\nevent: task\ndata: {"a":\ndata: 1}\n\ndata: x\n\n'))).toEqual([
      { id: '7', event: 'task', data: '{"a":\n1}' },
      { id: '7', event: 'message', data: 'x' },
    ]);
  });
  test('pieces cut anywhere, also between the halves of a line end and inside a letter', async () => {
    const bytes = new TextEncoder().encode('event: a\r\ndata: 中文\r\n\r\nevent: b\ndata: 2\n\n');
    for (let cut = 1; cut < bytes.length; cut += 1) {
      const stream = new ReadableStream<Uint8Array>({
        start(controller) {
          controller.enqueue(bytes.slice(0, cut));
          controller.enqueue(bytes.slice(cut));
          controller.close();
        },
      });
      expect(await all(stream), `cut at ${cut}`).toEqual([
        { id: null, event: 'a', data: '中文' },
        { id: null, event: 'b', data: '2' },
      ]);
    }
  });
  test('an unfinished block at the end is left out', async () => {
    expect(await all(body('data: 1\n\ndata: half'))).toEqual([{ id: null, event: 'message', data: '1' }]);
  });
});

describe('calls', () => {
  test('carry the token; mutations carry a key of their own', async () => {
    await client.machine();
    await client.verb('suspend');
    await client.patchSettings({ display_name: 'Ada' });
    const [read, ...changes] = fake.requests;
    expect(read?.headers.authorization).toBe('Bearer secret');
    expect(read?.headers['idempotency-key']).toBeUndefined();
    const keys = changes.map(({ headers }) => headers['idempotency-key']);
    expect(keys.every((key) => /^[0-9a-f]{32}$/.test(String(key)))).toBe(true);
    expect(new Set(keys).size).toBe(2);
  });
  test('a mutation is tried once more with the same key when the network failed under it', async () => {
    const real = globalThis.fetch;
    const keys: (string | undefined)[] = [];
    const broken = vi.spyOn(globalThis, 'fetch').mockImplementation((input, init) => {
      keys.push((init?.headers as Record<string, string>)['Idempotency-Key']);
      return keys.length === 1 ? Promise.reject(new TypeError('connection reset')) : real(input, init);
    });
    await client.verb('suspend');
    broken.mockRestore();
    expect(keys).toHaveLength(2);
    expect(keys[0]).toBe(keys[1]);
  });
  test('errors keep code, words and hint', async () => {
    const failure = await client.verb('reset', { confirm: 'other' }).catch(toFailure);
    expect(failure).toBeInstanceOf(ApiFailure);
    expect((failure as ApiFailure).error).toMatchObject({
      code: 'bad_request',
      hint: 'Type the name of the instance.',
    });
  });
  test('what is not ours is put into our shape', async () => {
    vi.spyOn(globalThis, 'fetch').mockResolvedValueOnce(new Response('<html>', { status: 403 }));
    const failure = toFailure(await client.machine().catch((thrown: unknown) => thrown));
    expect(failure.error.code).toBe('forbidden');
    expect(failure.refused).toBe(true);
  });
  test('nobody there is “unreachable”, not a crash', async () => {
    const nobody = new Client({ base: 'http://127.0.0.1:1' });
    expect(((await nobody.machine().catch(toFailure)) as ApiFailure).unreachable).toBe(true);
  });
  test('lines arrive whole', async () => {
    const lines: string[] = [];
    const stream = client.lines('/machine/logs?source=serial', (more) => lines.push(...more));
    expect(await stream.done).toBeNull();
    expect(lines).toHaveLength(400);
    expect(lines[0]).toContain('line 0 of');
  });
});

describe('a log', () => {
  const until = (what: () => boolean) =>
    vi.waitFor(() => expect(what()).toBe(true), { timeout: 20_000, interval: 10 });
  const reader = (follow: 0 | 1) =>
    new LogReader(
      (onLines) => client.lines(`/machine/logs?source=serial&follow=${follow}`, onLines),
      500,
      follow === 1,
    );

  test('that is followed says when it broke off, and goes on by itself', async () => {
    const log = reader(1);
    const stop = log.run();
    await until(() => log.lines.length === 400);
    fake.log('the last before');
    await until(() => log.lines.at(-1) === 'the last before');
    fake.cutLogs();
    await until(() => log.state === 'broken');
    expect(log.failure?.unreachable).toBe(true);
    expect(log.lines).toHaveLength(401);
    await until(() => log.state === 'reading');
    // What was told again took the place of what was there.
    expect(log.lines).toHaveLength(400);
    fake.log('the first after');
    await until(() => log.lines.at(-1) === 'the first after');
    expect(log.failure).toBeNull();
    stop();
  });
  test('whose end came is not read over and over', async () => {
    const log = reader(1);
    const stop = log.run();
    await until(() => log.lines.length === 400);
    fake.cutLogs(true);
    await until(() => log.state === 'ended');
    expect(log.retryAt).toBeNull();
    log.again();
    await until(() => log.state === 'reading');
    stop();
  });
  test('that isn’t followed simply ends', async () => {
    const log = reader(0);
    const stop = log.run();
    await until(() => log.state === 'ended');
    expect(log.lines).toHaveLength(400);
    stop();
  });
});

describe('what is known stays fresh', () => {
  let live: Live;
  beforeEach(() => {
    vi.stubGlobal('document', { hidden: false });
    live = new Live(() => Promise.resolve({ base: fake.url }));
    void live.run();
  });
  afterEach(() => {
    live.stop();
    vi.unstubAllGlobals();
  });
  const until = (what: () => boolean) =>
    vi.waitFor(() => expect(what()).toBe(true), { timeout: 20_000, interval: 10 });

  test('events change the machine, tasks and the operation log', async () => {
    await until(() => live.link === 'live');
    expect(live.machine?.phase).toBe('running');
    await live.client.verb('suspend');
    await until(() => live.machine?.phase === 'suspended');
    expect(live.tasks[0]).toMatchObject({ kind: 'machine.suspend' });
    expect(live.operations[0]).toMatchObject({ what: 'machine.suspend' });
  });
  test('a cut stream is taken up again where it ended', async () => {
    await until(() => live.link === 'live');
    fake.setPhase('suspended');
    await until(() => live.machine?.phase === 'suspended');
    fake.cutStreams();
    await until(() => fake.requests.filter(({ path }) => path === '/events').length === 2);
    expect(fake.requests.filter(({ path }) => path === '/events')[1]?.headers['last-event-id']).toBe('101');
    await until(() => live.failure === null);
    expect(live.link).toBe('live');
  });
  test('“resync” reads everything anew', async () => {
    await until(() => live.link === 'live');
    const before = fake.requests.length;
    fake.state.phase = 'stopped';
    fake.send('resync', null);
    await until(() => live.machine?.phase === 'stopped');
    expect(fake.requests.length).toBeGreaterThan(before);
  });
  test('a refused call is told apart from nobody answering', async () => {
    await until(() => live.link === 'live');
    fake.state.refuse = true;
    fake.cutStreams();
    await until(() => live.link === 'refused');
    fake.state.refuse = false;
    live.retryNow();
    await until(() => live.link === 'live');
    fake.state.down = true;
    fake.cutStreams();
    await until(() => live.retryAt !== null);
    live.retryNow();
    await until(() => live.link === 'lost');
    expect(live.failure?.unreachable).toBe(true);
  });
  test('what arrives during a “resync” is merged with what was missed', async () => {
    await until(() => live.link === 'live');
    const missed = {
      id: 'missed',
      kind: 'machine.start',
      state: 'running',
      message: '',
      progress: 0.5,
      cancellable: false,
      created: new Date().toISOString(),
      ended: null,
      error: null,
    };
    fake.send('task', missed);
    await until(() => live.tasks[0]?.id === 'missed');
    // Its end is never sent; it stands in the list that is read anew, and another task begins in the meantime.
    const end = { ...missed, state: 'succeeded', ended: missed.created };
    fake.state.tasks = [end, ...fake.state.tasks];
    const real = globalThis.fetch;
    vi.spyOn(globalThis, 'fetch').mockImplementation(async (input, init) => {
      const answer = await real(input, init);
      if (String(input).endsWith('/tasks')) {
        fake.send('task', { ...missed, id: 'other' });
        fake.send('operation', { ...fake.state.operations[0], id: 9001 });
        await until(() => live.operations[0]?.id === 9001);
      }
      return answer;
    });
    fake.send('resync', null);
    await until(() => live.tasks.find(({ id }) => id === 'missed')?.state === 'succeeded');
    vi.restoreAllMocks();
    expect(live.tasks[0]?.id).toBe('other');
    expect(live.operations[0]?.id).toBe(9001);
  });
  test('a “resync” that can’t be read is made up for', async () => {
    await until(() => live.link === 'live');
    const real = globalThis.fetch;
    let refused = 0;
    vi.spyOn(globalThis, 'fetch').mockImplementation((input, init) => {
      if (String(input).endsWith('/machine') && (refused += 1) === 1)
        return Promise.reject(new TypeError('reset'));
      return real(input, init);
    });
    fake.state.phase = 'stopped';
    fake.send('resync', null);
    await until(() => live.machine?.phase === 'stopped');
    vi.restoreAllMocks();
  });
  test('a task that was begun here is waited for, whether its end is told or has to be read', async () => {
    await until(() => live.link === 'live');
    const begun = await live.client.verb('kill');
    expect((await live.ended(begun)).state).toBe('succeeded');
    fake.state.tasksFail = true;
    await expect(live.ended(await live.client.verb('kill'))).rejects.toMatchObject({
      error: { code: 'disk_full' },
    });
    const gone = { ...begun, id: 'gone', state: 'running', ended: null } as const;
    const waits = live.ended(gone);
    fake.send('resync', null);
    await expect(waits).rejects.toMatchObject({ error: { code: 'not_found' } });
  });
  test('figures that are read again are one point of the history', async () => {
    fake.state.reportEveryMs = 1e9;
    await until(() => live.link === 'live');
    for (let nth = 0; nth < 3; nth += 1) await live.measure();
    expect(live.history).toHaveLength(1);
    fake.state.reportEveryMs = 7e8;
    await live.measure();
    expect(live.history).toHaveLength(2);
  });
  test('an old document never turns a boot back', async () => {
    await until(() => live.link === 'live');
    const report = live.boot;
    expect(report?.finished).toBe(true);
    fake.send('boot', { ...report, finished: false, elapsed_ms: 5 });
    fake.send('operation', { ...live.operations[0], id: 9999 });
    await until(() => live.operations[0]?.id === 9999);
    expect(live.boot?.finished).toBe(true);
  });
});
