// @ts-nocheck: its shapes are those of the wire types, which its users check.
// A boot, as it goes.
import { phaseOf } from './scenarios.mjs';
import { back } from './units.mjs';

const STEPS = [
  ['kernel', 0, 900],
  ['initrd', 900, 1500],
  ['data_disk', 1500, 2300],
  ['userspace', 2300, 5100],
  ['network', 3200, 3500],
  ['door', 3500, 5200],
  ['certificates', 5200, 5900],
  ['containerd', 5300, 7400],
  ['datastore', 5900, 6400],
  ['apiserver', 6400, 13_800],
  ['controllers', 13_800, 15_900],
  ['node', 15_900, 19_700],
  ['images', 19_700, 21_000],
  ['platform', 21_000, 24_600],
];
export const BOOT_MS = 24_600;

const LOGS = {
  kernel: ['[    0.412201] EXT4-fs: unused', '[    0.811038] Run /init as init process'],
  apiserver: [
    'I0912 10:14:03.118 apiserver: serving on 127.0.0.1:6443',
    'I0912 10:14:04.590 apiserver: waiting for caches to sync for RequestHeaderAuthRequestController',
    'I0912 10:14:05.004 apiserver: poststarthook/rbac/bootstrap-roles not finished',
  ],
  node: ['kubelet: node walnut-alcove registered', 'kubelet: container runtime network not ready yet'],
};

/** The boot as it is after `ms` milliseconds; `stuck` names a step that doesn't end. */
export function boot(ms, { stuck, failed, kind = 'cold', estimate = 26_000 } = {}) {
  const steps = STEPS.map(([name, from, to]) => {
    const waits =
      (stuck ?? failed) !== undefined &&
      from >= (STEPS.find(([step]) => step === (stuck ?? failed))?.[2] ?? 0);
    const begun = ms >= from && !waits;
    const own = name === stuck || name === failed;
    const done = ms >= to && begun && !own;
    return {
      name,
      state: name === failed && begun ? 'failed' : done ? 'done' : begun ? 'running' : 'waiting',
      started_ms: begun ? from : null,
      ended_ms: done ? to : name === failed && begun ? ms : null,
      message: name === failed && begun ? 'The API server did not get ready within 90 s.' : null,
      log: begun ? (LOGS[name] ?? [`${name}: under way`]) : [],
      expected_ms: to - from,
    };
  });
  const finished = steps.every(({ state }) => state === 'done');
  return {
    attempt: 7,
    started_at: back(ms / 1000),
    kind,
    elapsed_ms: finished ? Math.min(ms, BOOT_MS) : ms,
    finished,
    steps,
    estimate_ms: estimate,
  };
}

/** The boot that a scenario shows. */
export function bootOf(scenario) {
  switch (scenario) {
    case 'booting':
      return boot(11_400);
    case 'slow':
      return boot(71_000, { stuck: 'apiserver' });
    case 'bootfail':
      return boot(96_000, { failed: 'apiserver' });
    case 'failed':
    case 'stuck':
      return boot(300_000, { failed: 'apiserver' });
    default:
      return phaseOf(scenario) === 'absent' ? null : boot(BOOT_MS);
  }
}
