// @ts-nocheck: its shapes are those of the wire types, which its users check.
// A stand-in for the supervisor: the same addresses and documents, with a scenario instead of a machine.
import { createReadStream, existsSync, statSync } from 'node:fs';
import { createServer } from 'node:http';
import { extname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';
import { WebSocketServer } from 'ws';
import * as data from './data.mjs';
import { fakeImages, imagesOf } from './images.mjs';

const apps = fileURLToPath(new URL('../../apps/', import.meta.url));
const TYPES = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript',
  '.css': 'text/css',
  '.svg': 'image/svg+xml',
};
/** As strict as the real one: no inline script, no eval. */
const CSP =
  "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self'; connect-src 'self' ws://127.0.0.1:*; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/**
 * @typedef {'absent' | 'blocked' | 'booting' | 'slow' | 'bootfail' | 'running' | 'trouble' | 'failed' | 'stuck'
 *   | 'suspended' | 'suspending' | 'slowsuspend' | 'stopping' | 'slowstop' | 'stopped' | 'noimage' | 'nosource' | 'refused' | 'dead' | 'many' | 'empty' | 'long'} Scenario
 */

/** Starts the stand-in. `app` says which pages it serves.
 * @param {{ scenario: Scenario, app?: 'native' | 'desktop', settings?: object, bootSpeed?: number, port?: number }} options */
export async function startFake({ scenario, app = 'native', settings = {}, bootSpeed = 1, port = 0 }) {
  const streams = new Set();
  const requests = [];
  const sockets = new Set();
  const logs = new Set();
  let eventId = 100;
  let taskId = 20;
  let timers = new Set();

  const later = (ms, run) => {
    const timer = setTimeout(() => {
      timers.delete(timer);
      run();
    }, ms);
    timers.add(timer);
  };

  const phases = {
    absent: 'absent',
    blocked: 'absent',
    noimage: 'absent',
    nosource: 'absent',
    booting: 'starting',
    slow: 'starting',
    bootfail: 'starting',
    failed: 'failed',
    stuck: 'failed',
    suspending: 'suspending',
    slowsuspend: 'suspending',
    suspended: 'suspended',
    stopping: 'stopping',
    slowstop: 'stopping',
    stopped: 'stopped',
  };
  const state = {
    scenario,
    phase: phases[scenario] ?? 'running',
    since: data.back({ suspending: 4, stopping: 4, slowsuspend: 130, slowstop: 130 }[scenario] ?? 7834),
    /** A machine that was given up on is on all the same. */
    stillOn: scenario === 'stuck',
    setup: phases[scenario] === 'absent' ? null : data.SETUP,
    settings: {
      machine: phases[scenario] === 'absent' ? null : data.SETUP,
      start: 'running',
      start_at_login: false,
      suspend_on_quit: true,
      theme: 'system',
      language: null,
      display_name: '',
      ...settings,
    },
    restartNeeded: [],
    tasks: ['running', 'trouble', 'many', 'long'].includes(scenario) ? data.pastTasks() : [],
    snapshots: data.snapshots(scenario),
    operations: scenario === 'empty' ? [] : data.operations(scenario === 'many' ? 640 : 14),
    boot:
      scenario === 'booting'
        ? data.boot(11_400)
        : scenario === 'slow'
          ? data.boot(71_000, { stuck: 'apiserver' })
          : scenario === 'bootfail'
            ? data.boot(96_000, { failed: 'apiserver' })
            : scenario === 'failed' || scenario === 'stuck'
              ? data.boot(300_000, { failed: 'apiserver' })
              : phases[scenario] === 'absent'
                ? null
                : data.boot(data.BOOT_MS),
    bootAt: Date.now(),
    ...imagesOf(scenario, phases[scenario] === 'absent'),
    /** Makes each call fail with this error. */
    refuse: scenario === 'refused',
    down: scenario === 'dead',
    /** Pods can't be read. */
    podsFail: false,
    /** The guest can't tell who is signed in. */
    meFails: false,
    /** How many pods change between two readings. */
    churn: 0,
    /** Containers that have restarted, so that there is an earlier log. */
    restarted: false,
  };
  /** Ten thousand pods are made and written once: the stand-in must not be what is measured. */
  let all = null;
  let turn = 0;
  function podList() {
    if (scenario !== 'many') return data.pods(scenario);
    all ??= data.pods(scenario);
    const changes = Math.floor(state.churn);
    state.churn = 0;
    for (let nth = 0; nth < changes; nth += 1) {
      turn += 1;
      // Half of them where one looks, half anywhere.
      const at = nth % 2 ? turn % 40 : (turn * 7919) % all.length;
      const before = all[at];
      all[at] = { ...before, restarts: before.restarts + 1, cpu_used_m: (turn * 13) % 900 };
    }
    return all;
  }
  /** The list as it is sent, written anew only when something has changed. */
  let written = { all: null, turn: -1, text: '' };
  function podText() {
    const items = podList();
    if (written.all !== items || written.turn !== turn) {
      written = { all: items, turn, text: JSON.stringify({ items }) };
    }
    return written.text;
  }

  const instance =
    scenario === 'long' ? 'the-machine-of-the-second-study-upstairs-under-the-roof' : 'default';
  const machine = () => {
    const up = state.phase === 'running';
    const known = state.phase !== 'absent';
    const on = up || (state.phase === 'failed' && state.stillOn);
    const trouble = scenario === 'trouble';
    const guest = up ? data.guest(trouble) : null;
    if (guest) {
      const wave = Math.sin(Date.now() / 9000);
      guest.cpu_share = 0.14 + 0.08 * wave;
      guest.memory.used += wave * 60 * data.MIB;
    }
    return {
      instance,
      provider: 'qemu',
      capabilities: data.capabilities,
      acceleration: known ? 'kvm' : null,
      setup: state.setup,
      desired: state.phase === 'suspended' ? 'suspended' : state.phase === 'stopped' ? 'stopped' : 'running',
      phase: state.phase,
      since: state.since,
      generation: 4,
      observed_generation: 4,
      conditions: up ? data.conditions(trouble) : [],
      failure: state.phase === 'failed' ? data.FAILURE : null,
      boot: known ? state.boot : null,
      guest,
      image: known ? '4be1c93a77d0' : null,
      host_memory_bytes: on ? 2.1 * data.GIB : null,
      host_cpu_share: on ? 0.31 : null,
      disk_file: known ? { used: 9.2 * data.GIB, total: 40 * data.GIB } : null,
      state_bytes: state.phase === 'suspended' ? 812 * data.MIB : null,
      restart_needed: state.restartNeeded,
    };
  };
  const settingsView = () => ({
    settings: state.settings,
    defaults: { ...state.settings, theme: 'system', language: null, display_name: '' },
    restart_needed: state.restartNeeded,
    problem: null,
  });

  function send(event, document) {
    eventId += 1;
    const text = `id: ${eventId}\nevent: ${event}\ndata: ${JSON.stringify(document)}\n\n`;
    for (const stream of streams) stream.write(text);
  }
  const setPhase = (phase) => {
    state.phase = phase;
    state.since = new Date().toISOString();
    send('machine', machine());
  };
  function task(kind, ms, done) {
    taskId += 1;
    const one = {
      id: `t${taskId}`,
      kind,
      state: 'running',
      message: 'Under way',
      progress: 0.3,
      cancellable: kind === 'machine.start',
      created: new Date().toISOString(),
      ended: null,
      error: null,
    };
    state.tasks = [one, ...state.tasks];
    send('task', one);
    const operation = {
      id: (state.operations[0]?.id ?? 0) + 1,
      at: one.created,
      who: 'owner',
      via: 'browser',
      what: kind,
      subject: instance,
      result: 'accepted',
      message: '',
      task: one.id,
    };
    state.operations = [operation, ...state.operations];
    send('operation', operation);
    later(ms, () => {
      Object.assign(one, {
        state: 'succeeded',
        progress: 1,
        cancellable: false,
        ended: new Date().toISOString(),
      });
      send('task', one);
      done?.();
    });
    return one;
  }
  function startBoot(kind) {
    state.bootAt = Date.now();
    state.boot = data.boot(0, { kind });
    setPhase('starting');
    const tick = () => {
      const ms = (Date.now() - state.bootAt) * bootSpeed;
      state.boot = data.boot(ms, { kind });
      send('boot', state.boot);
      if (state.boot.finished) setPhase('running');
      else if (state.phase === 'starting') later(200, tick);
    };
    later(100, tick);
  }

  const machineVerb = {
    start: () => task('machine.start', data.BOOT_MS / bootSpeed, startBoot('cold')),
    resume: () => {
      setPhase('starting');
      return task('machine.resume', 600, () => setPhase('running'));
    },
    suspend: () => {
      setPhase('suspending');
      return task('machine.suspend', 600, () => setPhase('suspended'));
    },
    stop: () => {
      setPhase('stopping');
      return task('machine.stop', 600, () => setPhase('stopped'));
    },
    restart: () => {
      state.restartNeeded = [];
      return task('machine.restart', 400, () => startBoot('cold'));
    },
    kill: () => task('machine.kill', 100, () => setPhase('stopped')),
    reset: () =>
      task('machine.reset', 200, () => {
        state.setup = null;
        setPhase('absent');
      }),
  };

  const images = fakeImages({ state, send, later, nextId: () => `t${(taskId += 1)}` });

  const wrong = (code, status, message, hint) => ({ status, body: { code, message, hint } });

  function logLines(source) {
    return Array.from({ length: 400 }, (_, at) =>
      at % 40 === 39
        ? `Sep 12 10:1${at % 10}:07 alcove ${source}[212]: \u001b[33mwarning\u001b[0m: retrying in ${at % 7} s`
        : `Sep 12 10:1${at % 10}:0${at % 10} alcove ${source}[212]: line ${at} of what this part of the machine says while it runs`,
    );
  }

  /** Answers a call with a document, or with a status. */
  function answer(method, path, query, body) {
    const verb = /^\/machine\/(start|suspend|resume|stop|restart|kill|reset)$/.exec(path)?.[1];
    if (method === 'POST' && verb) {
      if (verb === 'reset' && body.confirm !== instance) {
        return wrong('bad_request', 400, 'The name does not fit', 'Type the name of the instance.');
      }
      return { status: 202, body: machineVerb[verb]() };
    }
    const snapshot = /^\/machine\/snapshots\/([^/]+)(\/restore)?$/.exec(path);
    if (snapshot && method === 'DELETE') {
      state.snapshots = state.snapshots.filter(({ name }) => name !== decodeURIComponent(snapshot[1]));
      return { status: 202, body: task('snapshot.delete', 50) };
    }
    if (snapshot?.[2] && method === 'POST') return { status: 202, body: task('snapshot.restore', 300) };
    if (/^\/tasks\/[^/]+\/cancel$/.test(path)) {
      const one = state.tasks.find(({ id }) => path.includes(`/${id}/`));
      if (!one) return wrong('not_found', 404, 'There is no such task', '');
      Object.assign(one, { state: 'cancelled', cancellable: false, ended: new Date().toISOString() });
      send('task', one);
      return { body: one };
    }
    const single = /^\/tasks\/([^/]+)$/.exec(path)?.[1];
    if (method === 'GET' && single) {
      const one = state.tasks.find(({ id }) => id === single);
      return one ? { body: one } : wrong('not_found', 404, 'There is no such task', '');
    }
    const ofImages = images.answer(method, path, body);
    if (ofImages) return ofImages;
    switch (`${method} ${path}`) {
      case 'GET /version':
        return { body: { alcove: '0.1.0', api: 'v1', instance, pid: 4711 } };
      case 'GET /machine':
        return { body: machine() };
      case 'POST /machine':
        state.setup = body;
        state.settings = { ...state.settings, machine: body };
        return { status: 202, body: task('machine.create', 300, () => setPhase('stopped')) };
      case 'GET /machine/proposal':
        return { body: data.proposal(scenario === 'blocked') };
      case 'GET /machine/boot':
        return { body: state.boot };
      case 'GET /machine/snapshots':
        return { body: state.snapshots };
      case 'POST /machine/snapshots':
        state.snapshots = [
          {
            name: body.name,
            created: new Date().toISOString(),
            with_memory: false,
            image: '4be1c93a77d0',
            state_bytes: 0,
            note: body.note,
          },
          ...state.snapshots,
        ];
        return { status: 202, body: task('snapshot.create', 200) };
      case 'GET /host':
        return { body: data.host };
      case 'GET /doctor':
        return { body: { checks: data.checks(false) } };
      case 'GET /settings':
        return { body: settingsView() };
      case 'PATCH /settings': {
        if (body.machine) state.restartNeeded = ['machine'];
        state.settings = { ...state.settings, ...body };
        send('settings', settingsView());
        return { body: settingsView() };
      }
      case 'GET /tasks':
        return { body: { tasks: state.tasks } };
      case 'GET /operations': {
        const before = Number(query.get('before') ?? Infinity);
        const page = state.operations
          .filter(({ id }) => id < before)
          .slice(0, Number(query.get('limit') ?? 100));
        return { body: { operations: page, next_before: page.at(-1)?.id > 1 ? page.at(-1).id : null } };
      }
      case 'POST /quit':
        return { status: 202, body: task('machine.suspend', 200, () => (state.down = true)) };
      case 'POST /tickets':
        return { body: { url: `${address}/ticket-was-opened`, expires_at: data.back(-60) } };
      case 'GET /cluster/overview': {
        const all = podList();
        const ready = data.nodes(scenario);
        return {
          body: {
            nodes: { total: ready.length, well: ready.filter((node) => node.ready).length },
            pods: { total: all.length, well: all.filter(({ health }) => health === 'good').length },
            version: 'v1.34.1+alcove',
            warnings: data.events(scenario).filter(({ kind }) => kind === 'Warning').length,
          },
        };
      }
      case 'GET /cluster/nodes':
        return { body: { items: data.nodes(scenario) } };
      case 'GET /cluster/pods':
        return state.podsFail
          ? wrong(
              'kubernetes_unreachable',
              503,
              'Kubernetes does not answer',
              'Wait a moment, or look at its log.',
            )
          : { text: podText() };
      case 'GET /cluster/events':
        return { body: { items: data.events(scenario) } };
      default:
        return wrong('not_found', 404, 'There is no such resource', '');
    }
  }

  function serveFile(path, response) {
    const root = join(apps, app, 'dist');
    const file = join(root, normalize(path === '/' ? '/index.html' : path));
    if (!file.startsWith(root) || !existsSync(file) || !statSync(file).isFile()) {
      response.writeHead(404, { 'Content-Type': 'text/plain' }).end('not found');
      return;
    }
    response.writeHead(200, {
      'Content-Type': TYPES[extname(file)] ?? 'application/octet-stream',
      'Content-Security-Policy': CSP,
      'X-Content-Type-Options': 'nosniff',
    });
    createReadStream(file).pipe(response);
  }

  const server = createServer((request, response) => {
    const url = new URL(request.url ?? '/', 'http://fake');
    if (!url.pathname.startsWith('/api/v1/')) {
      serveFile(url.pathname, response);
      return;
    }
    if (state.down) {
      request.socket.destroy();
      return;
    }
    const path = url.pathname.slice('/api/v1'.length);
    const json = (status, body) =>
      response.writeHead(status, { 'Content-Type': 'application/json' }).end(JSON.stringify(body));
    requests.push({ method: request.method, path, headers: request.headers });
    if (state.refuse) {
      json(401, {
        code: 'unauthenticated',
        message: 'Sign in first',
        hint: 'Run “alcove open” to get a link.',
      });
      return;
    }
    if (path === '/me') {
      if (state.meFails)
        json(503, { code: 'guest_unreachable', message: 'The machine does not answer', hint: '' });
      else json(200, data.me(scenario === 'long'));
      return;
    }
    if (path === '/events') {
      response.writeHead(200, { 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-store' });
      response.write(': welcome\n\n');
      streams.add(response);
      response.on('close', () => streams.delete(response));
      return;
    }
    if (path === '/machine/logs' || /^\/cluster\/pods\/.*\/logs$/.test(path)) {
      const source = url.searchParams.get('source') ?? url.searchParams.get('container') ?? 'log';
      if (url.searchParams.get('previous') === '1' && !state.restarted) {
        json(404, {
          code: 'not_found',
          message: 'This container has not restarted',
          hint: 'There is no earlier log.',
        });
        return;
      }
      response.writeHead(200, { 'Content-Type': 'text/plain; charset=utf-8' });
      const from = url.searchParams.get('previous') === '1' ? `${source} before` : source;
      response.write(`${logLines(from).join('\n')}\n`);
      if (url.searchParams.get('follow') !== '1') response.end();
      else {
        logs.add(response);
        response.on('close', () => logs.delete(response));
      }
      return;
    }
    let text = '';
    request.on('data', (chunk) => (text += chunk));
    request.on('end', () => {
      const {
        status = 200,
        body,
        text: whole,
      } = answer(request.method, path, url.searchParams, text ? JSON.parse(text) : {});
      if (whole === undefined) json(status, body);
      else response.writeHead(status, { 'Content-Type': 'application/json' }).end(whole);
    });
  });

  const shells = new WebSocketServer({
    noServer: true,
    handleProtocols: (offered) => (offered.has('alcove.v1') ? 'alcove.v1' : false),
  });
  server.on('upgrade', (request, socket, head) => {
    shells.handleUpgrade(request, socket, head, (shell) => {
      sockets.add(shell);
      shell.on('close', () => sockets.delete(shell));
      const serial = request.url?.includes('console');
      shell.send(
        Buffer.from(serial ? 'walnut-alcove login: ' : '\u001b[1;32mroot@walnut-alcove\u001b[0m:~# '),
      );
      let line = '';
      shell.on('message', (message, binary) => {
        if (!binary) return;
        for (const key of message.toString()) {
          if (key === '\r') {
            shell.send(Buffer.from('\r\n'));
            if (line === 'exit') {
              shell.send(JSON.stringify({ exit: 0 }));
              shell.close();
              return;
            }
            shell.send(
              Buffer.from(
                `${line ? `you said: ${line}\r\n` : ''}\u001b[1;32mroot@walnut-alcove\u001b[0m:~# `,
              ),
            );
            line = '';
          } else {
            line += key;
            shell.send(Buffer.from(key));
          }
        }
      });
    });
  });

  await new Promise((resolve) => server.listen(port, '127.0.0.1', () => resolve(undefined)));
  const address = `http://127.0.0.1:${/** @type {import('node:net').AddressInfo} */ (server.address()).port}`;

  return {
    url: address,
    state,
    requests,
    send,
    setPhase,
    /** Writes a line into every log that is followed. */
    log: (line) => {
      for (const log of logs) log.write(`${line}\n`);
    },
    endFetch: () => images.endFetch(),
    /** Ends every event stream, as when the supervisor starts anew. */
    cutStreams: () => {
      for (const stream of streams) stream.end();
    },
    close: () =>
      new Promise((resolve) => {
        for (const timer of timers) clearTimeout(timer);
        timers = new Set();
        for (const socket of sockets) socket.terminate();
        server.closeAllConnections();
        server.close(() => resolve(undefined));
      }),
  };
}
