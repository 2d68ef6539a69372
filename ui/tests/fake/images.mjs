// @ts-nocheck: its shapes are those of the wire types, which its users check.
// The images of the stand-in, and bringing one.
import * as data from './data.mjs';

/** What a scenario has of images. */
export const imagesOf = (scenario, absent) => ({
  images: ['noimage', 'nosource'].includes(scenario)
    ? []
    : [
        data.image(data.IMAGE, absent ? 'next' : 'active'),
        ...(scenario === 'many' ? [data.image('77d04be1c93a', 'refused', '2026-09-09T08:30:00Z')] : []),
      ],
  unfinished: [],
  /** What was asked for. */
  fetched: /** @type {unknown} */ (null),
  /** How a fetch ends: `succeed`, `fail`, or `stay` half-way until the test ends it. */
  fetch: 'succeed',
});

/** Answers the calls about images. */
export function fakeImages({ state, send, later, nextId }) {
  /** Half of it comes at once, the rest as the test says. */
  function begin(body) {
    const one = {
      id: nextId(),
      kind: 'image.fetch',
      state: 'running',
      message: 'file:root.erofs',
      progress: 0.5,
      transfer: {
        bytes: data.IMAGE_BYTES / 2,
        total_bytes: data.IMAGE_BYTES,
        bytes_per_second: 12 * data.MIB,
        seconds_left: 12,
      },
      cancellable: true,
      created: new Date().toISOString(),
      ended: null,
      error: null,
    };
    state.tasks = [one, ...state.tasks];
    state.fetched = body;
    send('task', one);
    if (state.fetch !== 'stay') later(300, () => endFetch(one));
    return one;
  }
  function endFetch(one = state.tasks.find(({ kind, ended }) => kind === 'image.fetch' && !ended)) {
    if (!one || one.ended) return;
    const error =
      state.fetch === 'fail'
        ? {
            code: 'source_unreachable',
            message: 'https://images.example/alcove/root.erofs broke off half-way.',
            hint: 'Ask again: it goes on where it stopped.',
          }
        : null;
    const half = { version: data.IMAGE, bytes: data.IMAGE_BYTES / 2, total_bytes: data.IMAGE_BYTES };
    state.unfinished = error ? [half] : [];
    if (!error) state.images = [data.image(data.IMAGE, 'next')];
    Object.assign(one, {
      state: error ? 'failed' : 'succeeded',
      cancellable: false,
      ended: new Date().toISOString(),
      error,
    });
    send('task', one);
  }
  const list = () => ({
    images: state.images,
    damaged: [],
    unfinished: state.unfinished,
    source: state.scenario === 'nosource' ? null : data.imageSource,
    task: null,
  });
  return {
    endFetch,
    answer(method, path, body) {
      const version = /^\/images\/([^/]+)$/.exec(path)?.[1];
      if (method === 'GET' && path === '/images') return { body: list() };
      if (method === 'POST' && path === '/images/fetch') return { status: 202, body: begin(body) };
      if (method === 'DELETE' && version) {
        state.images = state.images.filter(({ manifest }) => manifest.version !== version);
        return { body: list() };
      }
      return null;
    },
  };
}
