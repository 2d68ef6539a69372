// @ts-nocheck: its shapes are those of the wire types, which its users check.
// The machine, and what is asked of it.
import { wrong } from './answers.mjs';
import { boot, BOOT_MS, bootOf } from './boot.mjs';
import { phaseOf } from './scenarios.mjs';
import { back, GIB, MIB } from './units.mjs';

export const SETUP = { memory_bytes: 4 * GIB, cpus: 4, disk_bytes: 40 * GIB };

const condition = (type, message, since = 7400, extra = {}) => ({
  type,
  status: 'True',
  reason: 'Observed',
  message,
  hint: '',
  since: back(since),
  ...extra,
});

export const conditions = (trouble) => [
  condition('DoorOpen', 'The machine answers.'),
  trouble
    ? condition('KubernetesReady', 'Running, but Kubernetes has not answered for 40 seconds.', 42, {
        status: 'False',
        reason: 'ApiServerSilent',
        hint: 'It is being started again. If this comes back, look at the Kubernetes log.',
      })
    : condition('KubernetesReady', 'The API answers and the node is ready.'),
  condition('PlatformReady', 'The gateway answers.'),
  condition('ClockInSync', 'The clock is 3 ms off.'),
  trouble
    ? condition('DiskHealthy', '96% of the data disk is in use.', 900, {
        status: 'False',
        reason: 'AlmostFull',
        hint: 'Make the disk larger in the settings.',
      })
    : condition('DiskHealthy', '31 GB are free and no errors were seen.'),
  condition('MemoryHealthy', '2.6 GB are available.'),
];

/** All that can be amiss at once. */
const WORSE = [
  [
    'KeysReadable',
    'The machine runs on, but can’t be reached. Your keychain is locked.',
    'Unlock it; the machine is then taken over.',
  ],
  [
    'DiskHasItsSize',
    'The disk has not got its new size yet. The guest does not answer.',
    'It is tried again by itself.',
  ],
  ['LastSuspendWorked', 'No space is left on this computer’s disk.', 'Free 1.2 GB and suspend again.'],
  ['LastBootClean', 'QEMU ended by itself. It was started again.', 'What was saved is still there.'],
  [
    'HostDiskHasSpace',
    'This computer’s disk is full.',
    'Free some space; the machine then goes on by itself.',
  ],
  ['ClockInSync', 'The guest’s clock can’t be set.', 'Restart the machine.'],
  ['DoorOpen', 'The machine does not answer.', 'Look at the serial log.'],
  [
    'PlatformReady',
    'The gateway did not answer in 5 s.',
    'The pods of alcove-system show what it waits for.',
  ],
  [
    'MemoryHealthy',
    'Less than a twentieth of the memory is left.',
    'Give the machine more memory in Settings.',
  ],
].map(([type, message, hint]) => condition(type, message, 60, { status: 'False', reason: 'Worse', hint }));

export const guest = (trouble) => ({
  boot_id: '7f0c7c1e',
  version: '0.1.0',
  image: '4be1c93a77d0',
  kernel: '6.12.48-cloud-amd64',
  kubernetes: { distribution: 'modules', version: 'v1.34.1', node_ready: !trouble },
  conditions: [],
  memory: { used: 1.38 * GIB, total: 3.84 * GIB },
  disk: { used: (trouble ? 38.5 : 8.7) * GIB, total: 40 * GIB },
  cpu_share: 0.12,
  cpus: 4,
  uptime_s: 7834,
  unix_time_ns: '1790000000000000000',
});

export const capabilities = {
  suspend: true,
  snapshot: true,
  grow_disk: true,
  hot_plug: false,
  gpu: [],
  file_sharing: [],
  returns_memory: true,
};

const FAILURE = {
  error: {
    code: 'timeout',
    message: 'Kubernetes did not get ready within 5 minutes',
    hint: 'Try again. If it fails the same way, open a rescue shell and look at the data disk.',
    details: null,
  },
  last_words: [
    'k3s[412]: time="2026-09-12T10:19:03Z" level=info msg="Waiting for API server to become available"',
    'k3s[412]: \u001b[31mError\u001b[0m: listen tcp 127.0.0.1:6443: bind: address already in use',
    'systemd[1]: k3s.service: Main process exited, code=exited, status=1/FAILURE',
    'systemd[1]: k3s.service: Scheduled restart job, restart counter is at 5.',
    'systemd[1]: k3s.service: Start request repeated too quickly.',
    'systemd[1]: Failed to start k3s.service - Kubernetes.',
  ],
  at: back(130),
};

/** The machine of a scenario, to begin with. */
export const machineOf = (scenario) => ({
  phase: phaseOf(scenario),
  since: back({ suspending: 4, stopping: 4, slowsuspend: 130, slowstop: 130 }[scenario] ?? 7834),
  /** A machine that was given up on is on all the same. */
  stillOn: scenario === 'stuck',
  setup: phaseOf(scenario) === 'absent' ? null : SETUP,
  boot: bootOf(scenario),
  bootAt: Date.now(),
  restartNeeded: [],
  /** How often the guest reports its figures. */
  reportEveryMs: 500,
});

/** Answers the calls about the machine. */
export function fakeMachine({ scenario, instance, bootSpeed, state, send, later, cutStreams, task }) {
  const machine = () => {
    const up = state.phase === 'running';
    const known = state.phase !== 'absent';
    const on = up || (state.phase === 'failed' && state.stillOn);
    const trouble = scenario === 'trouble';
    const said = up ? guest(trouble) : null;
    if (said) {
      // The guest reports from time to time: between its reports the same figures are read again.
      const reported = Math.floor(Date.now() / state.reportEveryMs) * state.reportEveryMs;
      said.unix_time_ns = `${reported}000000`;
      const wave = Math.sin(reported / 9000);
      said.cpu_share = 0.14 + 0.08 * wave;
      said.memory.used += wave * 60 * MIB;
    }
    return {
      instance,
      provider: 'qemu',
      capabilities,
      acceleration: known ? 'kvm' : null,
      setup: state.setup,
      desired: state.phase === 'suspended' ? 'suspended' : state.phase === 'stopped' ? 'stopped' : 'running',
      phase: state.phase,
      since: state.since,
      generation: 4,
      observed_generation: 4,
      conditions: up
        ? [
            ...conditions(trouble).filter(
              ({ type }) => !state.worse || !WORSE.some((one) => one.type === type),
            ),
            ...(state.worse ? WORSE : []),
          ]
        : [],
      failure: state.phase === 'failed' ? FAILURE : null,
      boot: known ? state.boot : null,
      guest: said,
      image: known ? '4be1c93a77d0' : null,
      host_memory_bytes: on ? 2.1 * GIB : null,
      host_cpu_share: on ? 0.31 : null,
      disk_file: known ? { used: 9.2 * GIB, total: 40 * GIB } : null,
      state_bytes: state.phase === 'suspended' ? 812 * MIB : null,
      restart_needed: state.restartNeeded,
    };
  };
  /** Nobody is there any more. */
  const leave = () =>
    later(100, () => {
      state.down = true;
      cutStreams();
    });
  const setPhase = (phase) => {
    state.phase = phase;
    state.since = new Date().toISOString();
    send('machine', machine());
  };
  function startBoot(kind) {
    state.bootAt = Date.now();
    state.boot = boot(0, { kind });
    setPhase('starting');
    const tick = () => {
      const ms = (Date.now() - state.bootAt) * bootSpeed;
      state.boot = boot(ms, { kind });
      send('boot', state.boot);
      if (state.boot.finished) setPhase('running');
      else if (state.phase === 'starting') later(200, tick);
    };
    later(100, tick);
  }

  const verbs = {
    start: () => task('machine.start', BOOT_MS / bootSpeed, startBoot('cold')),
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

  return {
    setPhase,
    answer(method, path, _query, body) {
      const verb = /^\/machine\/(start|suspend|resume|stop|restart|kill|reset)$/.exec(path)?.[1];
      if (method === 'POST' && verb) {
        if (verb === 'reset' && body.confirm !== instance) {
          return wrong('bad_request', 400, 'The name does not fit', 'Type the name of the instance.');
        }
        return { status: 202, body: verbs[verb]() };
      }
      switch (`${method} ${path}`) {
        case 'GET /machine':
          return { body: machine() };
        case 'POST /machine':
          state.setup = body;
          state.settings = { ...state.settings, machine: body };
          return { status: 202, body: task('machine.create', 300, () => setPhase('stopped')) };
        case 'GET /machine/boot':
          return { body: state.boot };
        case 'POST /quit':
          return {
            status: 202,
            body: task('machine.suspend', 200, () => {
              setPhase('suspended');
              leave();
            }),
          };
        default:
          return null;
      }
    },
  };
}
