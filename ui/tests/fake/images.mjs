// @ts-nocheck: its shapes are those of the wire types, which its users check.
// The images of the stand-in, and bringing one.
import { phaseOf } from './scenarios.mjs';
import { MIB } from './units.mjs';

const MANIFEST = (version, created) => ({
  schema: 1,
  version,
  created,
  architecture: 'x86_64',
  kernel_version: '6.12.48+deb13-amd64',
  cmdline: 'console=ttyS0',
  kubernetes: { distribution: 'modules', version: 'v1.34.1+alcove' },
  guest_version: '0.1.0',
  files: [
    { name: 'vmlinuz', bytes: 12 * MIB, sha256: 'a'.repeat(64) },
    { name: 'initrd', bytes: 4 * MIB, sha256: 'b'.repeat(64) },
    { name: 'root.erofs', bytes: 271 * MIB, sha256: 'c'.repeat(64) },
  ],
  packages: Array.from({ length: 148 }, (_, at) => ({
    name: at === 0 ? 'bash' : `lib-${['net', 'disk', 'text', 'time'][at % 4]}-${at}`,
    version: `${at}.2-1+deb13u${at % 3}`,
  })),
  containers: ['registry.alcove/gateway:1', 'registry.alcove/pause:3.10'],
});

const IMAGE_BYTES = 287 * MIB;
const IMAGE = '4be1c93a77d0';
const OTHER = '9c2f1ab03d5e';

/** An image as the list shows it. */
const image = (version, role, created = '2026-09-01T08:30:00Z') => ({
  manifest: MANIFEST(version, created),
  folder: `/home/ada/.local/share/alcove/images/${version}`,
  bytes: IMAGE_BYTES,
  role,
  own: true,
  used_by: role === 'active' ? ['default'] : [],
});

/** What a package says about where its image comes from. */
const imageSource = {
  schema: 1,
  from: `https://images.example/alcove/${IMAGE}/`,
  manifest_sha256: 'd'.repeat(64),
  manifest: MANIFEST(IMAGE, '2026-09-01T08:30:00Z'),
};

/** What a scenario has of images. */
export const imagesOf = (scenario) => ({
  images: ['noimage', 'nosource'].includes(scenario)
    ? []
    : [
        image(IMAGE, phaseOf(scenario) === 'absent' ? 'next' : 'active'),
        ...(scenario === 'many' ? [image('77d04be1c93a', 'refused', '2026-09-09T08:30:00Z')] : []),
      ],
  unfinished: [],
  /** What was asked for. */
  fetched: /** @type {unknown} */ (null),
  /** How a fetch ends: `succeed`, `fail`, or `stay` half-way until the test ends it. */
  fetch: 'succeed',
});

/** Answers the calls about images. */
export function fakeImages({ scenario, state, send, later, nextId }) {
  /** Half of it comes at once, the rest as the test says. */
  function begin(body) {
    const one = {
      id: nextId(),
      kind: 'image.fetch',
      state: 'running',
      message: 'file:root.erofs',
      progress: 0.5,
      transfer: {
        bytes: IMAGE_BYTES / 2,
        total_bytes: IMAGE_BYTES,
        bytes_per_second: 12 * MIB,
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
    const half = { version: IMAGE, bytes: IMAGE_BYTES / 2, total_bytes: IMAGE_BYTES };
    state.unfinished = error ? [half] : [];
    // Where one is in use, another comes beside it.
    if (!error) state.images = [...state.images, image(state.images.length ? OTHER : IMAGE, 'next')];
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
    damaged: state.worse
      ? [
          {
            folder: '/home/ada/.local/share/alcove/images/9',
            reason: 'The file root.erofs has another checksum.',
          },
        ]
      : [],
    unfinished: state.unfinished,
    source: scenario === 'nosource' ? null : imageSource,
    task: null,
  });
  return {
    endFetch,
    answer(method, path, _query, body) {
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
