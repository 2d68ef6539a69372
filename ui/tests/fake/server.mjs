// @ts-nocheck: its shapes are those of the wire types, which its users check.
// A stand-in for the supervisor: the same addresses and documents, with a scenario instead of a machine.
import { createServer } from 'node:http';
import { notFound } from './answers.mjs';
import { fakeCluster } from './cluster.mjs';
import { serveFile } from './files.mjs';
import { answerHost } from './host.mjs';
import { fakeImages, imagesOf } from './images.mjs';
import { fakeLogs } from './logs.mjs';
import { fakeMachine, machineOf } from './machine.mjs';
import { me } from './me.mjs';
import { instanceOf } from './scenarios.mjs';
import { fakeSettings, settingsOf } from './settings.mjs';
import { fakeShells } from './shells.mjs';
import { fakeSnapshots, snapshotsOf } from './snapshots.mjs';
import { fakeTasks, tasksOf } from './tasks.mjs';
import { back } from './units.mjs';

/** @typedef {import('./scenarios.mjs').Scenario} Scenario */

const json = (response, status, body) =>
  response.writeHead(status, { 'Content-Type': 'application/json' }).end(JSON.stringify(body));

/** Starts the stand-in. `app` says which pages it serves.
 * @param {{ scenario: Scenario, app?: 'native' | 'desktop', settings?: object, bootSpeed?: number, port?: number }} options */
export async function startFake({ scenario, app = 'native', settings = {}, bootSpeed = 1, port = 0 }) {
  const instance = instanceOf(scenario);
  const requests = [];
  const state = {
    scenario,
    ...machineOf(scenario),
    ...tasksOf(scenario),
    ...imagesOf(scenario),
    settings: settingsOf(scenario, settings),
    snapshots: snapshotsOf(scenario),
    /** Makes each call fail with this error. */
    refuse: scenario === 'refused',
    down: scenario === 'dead',
    /** Each task that is begun ends for want of space. */
    tasksFail: false,
    /** Tasks go on until the test ends them. */
    holdTasks: false,
    /** All that can be amiss is. */
    worse: false,
    /** No log can be read. */
    logsFail: false,
    /** Settings can't be written. */
    settingsFail: false,
    /** How long settings take to be written. */
    settingsMs: 0,
    /** Pods can't be read. */
    podsFail: false,
    /** The guest can't tell who is signed in. */
    meFails: false,
    /** The language and the theme as the host tells them; older ones don't. */
    meLook: {},
    /** How many pods change between two readings. */
    churn: 0,
    /** Containers that have restarted, so that there is an earlier log. */
    restarted: false,
  };

  const timers = new Set();
  const later = (ms, run) => {
    const timer = setTimeout(() => {
      timers.delete(timer);
      run();
    }, ms);
    timers.add(timer);
  };
  const streams = new Set();
  let eventId = 100;
  function send(event, document) {
    eventId += 1;
    const text = `id: ${eventId}\nevent: ${event}\ndata: ${JSON.stringify(document)}\n\n`;
    for (const stream of streams) stream.write(text);
  }

  /** Ends every event stream, as when the supervisor starts anew. */
  const cutStreams = () => {
    for (const stream of streams) stream.end();
  };

  const common = { scenario, instance, bootSpeed, state, send, later, json, cutStreams };
  const tasks = fakeTasks(common);
  const { task, nextId } = tasks;
  const machine = fakeMachine({ ...common, task });
  const images = fakeImages({ ...common, nextId });
  const logs = fakeLogs(common);
  const subjects = [
    machine,
    fakeSnapshots({ ...common, task }),
    tasks,
    images,
    fakeSettings(common),
    fakeCluster(common),
  ];

  /** Answers a call with a document, or with a status. */
  function answer(method, path, query, body) {
    for (const subject of subjects) {
      const found = subject.answer(method, path, query, body);
      if (found) return found;
    }
    const call = `${method} ${path}`;
    if (call === 'GET /version') return { body: { alcove: '0.1.0', api: 'v1', instance, pid: 4711 } };
    if (call === 'POST /tickets') {
      return { body: { url: `${address}/ticket-was-opened`, expires_at: back(-60) } };
    }
    return answerHost({ scenario, state }, call) ?? notFound();
  }

  const server = createServer((request, response) => {
    const url = new URL(request.url ?? '/', 'http://fake');
    if (!url.pathname.startsWith('/api/v1/')) {
      serveFile(app, url.pathname, response);
      return;
    }
    if (state.down) {
      request.socket.destroy();
      return;
    }
    const path = url.pathname.slice('/api/v1'.length);
    requests.push({ method: request.method, path, headers: request.headers });
    if (state.refuse) {
      json(response, 401, {
        code: 'unauthenticated',
        message: 'Sign in first',
        hint: 'Run “alcove open” to get a link.',
      });
      return;
    }
    if (path === '/me') {
      if (state.meFails)
        json(response, 503, { code: 'guest_unreachable', message: 'The machine does not answer', hint: '' });
      else json(response, 200, me(scenario === 'long', state.meLook));
      return;
    }
    if (path === '/events') {
      response.writeHead(200, { 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-store' });
      response.write(': welcome\n\n');
      streams.add(response);
      response.on('close', () => streams.delete(response));
      return;
    }
    if (logs.serve(url, response)) return;
    let text = '';
    request.on('data', (chunk) => (text += chunk));
    request.on('end', () => {
      const reply = () => {
        const {
          status = 200,
          body,
          text: whole,
        } = answer(request.method, path, url.searchParams, text ? JSON.parse(text) : {});
        if (whole === undefined) json(response, status, body);
        else response.writeHead(status, { 'Content-Type': 'application/json' }).end(whole);
      };
      const slow = request.method === 'PATCH' ? state.settingsMs : 0;
      if (slow > 0) later(slow, reply);
      else reply();
    });
  });
  const endShells = fakeShells(server);

  await new Promise((resolve) => server.listen(port, '127.0.0.1', () => resolve(undefined)));
  const address = `http://127.0.0.1:${/** @type {import('node:net').AddressInfo} */ (server.address()).port}`;

  return {
    url: address,
    state,
    requests,
    send,
    setPhase: machine.setPhase,
    log: logs.log,
    cutLogs: logs.cut,
    endFetch: () => images.endFetch(),
    endTasks: tasks.endTasks,
    cutStreams,
    close: () =>
      new Promise((resolve) => {
        for (const timer of timers) clearTimeout(timer);
        endShells();
        server.closeAllConnections();
        server.close(() => resolve(undefined));
      }),
  };
}
