// @ts-nocheck: its shapes are those of the wire types, which its users check.
// What a supervisor would say, for the tests and screenshots of the pages. Never shipped.

export const GIB = 1024 ** 3;
export const MIB = 1024 ** 2;

/** A time so many seconds ago. */
export const back = (seconds) => new Date(Date.now() - seconds * 1000).toISOString();

export const SETUP = { memory_bytes: 4 * GIB, cpus: 4, disk_bytes: 40 * GIB };

const CHECKS = [
  ['virtualisation', 'Virtualisation', 'ok', 'KVM is available to you.', ''],
  ['qemu', 'QEMU', 'ok', 'QEMU 10.0.3 was found.', ''],
  ['memory', 'Memory', 'ok', '11.2 GB are available, 2 GB are needed at least.', ''],
  ['disk', 'Disk', 'ok', '182 GB are free in the data folder.', ''],
  ['ports', 'Network', 'ok', 'A port on this computer can be opened.', ''],
  [
    'time',
    'Clock',
    'warn',
    'The clock is not synchronised.',
    'Switch on time synchronisation in the system settings.',
  ],
];

export const checks = (blocked) =>
  CHECKS.map(([id, title, status, message, hint]) =>
    blocked && id === 'qemu'
      ? {
          id,
          title,
          status: 'fail',
          message: 'QEMU was not found.',
          hint: 'Install it: sudo apt install qemu-system-x86',
        }
      : { id, title, status, message, hint },
  );

export const proposal = (blocked) => ({
  setup: SETUP,
  least: { memory_bytes: 2 * GIB, cpus: 1, disk_bytes: 10 * GIB },
  most: { memory_bytes: 12 * GIB, cpus: 8, disk_bytes: 170 * GIB },
  folder: '/home/ada/.local/share/alcove/machines/default',
  folder_free: 182 * GIB,
  checks: checks(blocked),
});

export const host = {
  hostname: 'walnut',
  os: 'Debian GNU/Linux 13 (trixie)',
  kernel: '6.12.48',
  architecture: 'x86_64',
  cpu: 'AMD Ryzen 7 7840U',
  cpus: 16,
  memory_bytes: 32 * GIB,
  memory_available_bytes: 19.4 * GIB,
  disk_free_bytes: 182 * GIB,
  data_folder: '/home/ada/.local/share/alcove',
  qemu: '10.0.3',
  secrets: 'keychain',
  secrets_why: 'keychain_runs',
};

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

export const FAILURE = {
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

const POD_KINDS = [
  [
    'alcove-system',
    'gateway-6c9f7d5b84-x2k8p',
    'ReplicaSet/gateway-6c9f7d5b84',
    ['gateway'],
    'Running',
    'good',
    3,
    24,
  ],
  [
    'kube-system',
    'coredns-7b9d4c8f6-vtq2m',
    'ReplicaSet/coredns-7b9d4c8f6',
    ['coredns'],
    'Running',
    'good',
    2,
    19,
  ],
  [
    'kube-system',
    'metrics-server-5f8c9b7d6-l9w4z',
    'ReplicaSet/metrics-server-5f8c9b7d6',
    ['metrics-server'],
    'Running',
    'good',
    4,
    31,
  ],
  [
    'kube-system',
    'local-path-provisioner-84d5c-hh7rn',
    'ReplicaSet/local-path-provisioner-84d5c',
    ['provisioner'],
    'Running',
    'good',
    1,
    12,
  ],
  ['kube-system', 'network-policy-jk2fp', 'DaemonSet/network-policy', ['agent'], 'Running', 'good', 2, 17],
];
const UNWELL = [
  [
    'default',
    'notes-7d8f6c5b9-qm4xt',
    'ReplicaSet/notes-7d8f6c5b9',
    ['migrate', 'notes'],
    'Init:0/1',
    'busy',
    null,
    null,
    'Waits for container migrate',
  ],
  [
    'default',
    'photos-0',
    'StatefulSet/photos',
    ['photos', 'thumbnails'],
    'CrashLoopBackOff',
    'failed',
    null,
    null,
    'Container thumbnails ended with status 137 (out of memory), 6 times; next try in 2 minutes',
  ],
  [
    'default',
    'backup-29318-r7c2d',
    'Job/backup-29318',
    ['backup'],
    'Pending',
    'attention',
    null,
    null,
    '0/1 nodes are available: insufficient memory',
  ],
];

const pod = ([namespace, name, owner, container_names, status, health, cpu, memory, message = null], at) => ({
  namespace,
  name,
  status,
  health,
  ready: health === 'good' ? container_names.length : 0,
  containers: Math.max(1, container_names.length - (status.startsWith('Init') ? 1 : 0)),
  container_names,
  restarts: health === 'failed' ? 6 : 0,
  last_restart: health === 'failed' ? back(71) : null,
  node: status === 'Pending' ? null : 'walnut-alcove',
  address: status === 'Pending' ? null : `10.42.0.${(at % 250) + 4}`,
  owner,
  cpu_used_m: cpu,
  memory_used_bytes: memory === null ? null : memory * MIB,
  created: back(7800 + at * 37),
  message,
});

export function pods(scenario) {
  if (scenario === 'empty') return [];
  const base = [...POD_KINDS, ...(scenario === 'trouble' || scenario === 'long' ? UNWELL : [])].map(pod);
  if (scenario === 'long') {
    base.push(
      pod(
        [
          'a-namespace-with-a-rather-long-name-that-somebody-chose-in-good-faith',
          'a-release-name-that-was-composed-of-many-words-and-a-hash-0123456789abcdef-xyz12-7d8f6c5b9-qm4xt',
          'ReplicaSet/a-release-name-that-was-composed-of-many-words-and-a-hash',
          ['application-container-with-a-long-name'],
          'CreateContainerConfigError',
          'failed',
          null,
          null,
          'secret "a-very-long-secret-name-that-does-not-exist-anywhere-in-this-namespace" not found',
        ],
        90,
      ),
    );
  }
  if (scenario !== 'many') return base;
  const many = Array.from({ length: 10_000 - base.length }, (_, at) =>
    pod(
      [
        `team-${at % 40}`,
        `worker-${String(at).padStart(5, '0')}-${((at * 2654435761) >>> 0).toString(36).slice(0, 5)}`,
        `ReplicaSet/worker-${at % 200}`,
        ['worker'],
        at % 97 === 0 ? 'CrashLoopBackOff' : 'Running',
        at % 97 === 0 ? 'failed' : 'good',
        at % 50,
        16 + (at % 200),
      ],
      at,
    ),
  );
  return [...base, ...many];
}

export const nodes = (scenario) =>
  scenario === 'empty'
    ? []
    : [
        {
          name: 'walnut-alcove',
          status: scenario === 'trouble' ? 'NotReady' : 'Ready',
          ready: scenario !== 'trouble',
          roles: ['control-plane'],
          version: 'v1.34.1+alcove',
          address: '10.0.2.15',
          os: 'Debian GNU/Linux 13 (trixie)',
          kernel: '6.12.48-cloud-amd64',
          runtime: 'containerd://2.1.4',
          cpu_allocatable_m: 4000,
          memory_allocatable_bytes: 3.6 * GIB,
          cpu_used_m: 212,
          memory_used_bytes: 1.2 * GIB,
          pods: pods(scenario).length,
          created: back(86_400 * 12),
          problems: scenario === 'trouble' ? ['Kubelet stopped posting node status.'] : [],
        },
      ];

export const events = (scenario) =>
  scenario === 'empty'
    ? []
    : [
        ...(scenario === 'trouble' || scenario === 'long'
          ? [
              [
                'default',
                'Pod/photos-0',
                'Warning',
                'BackOff',
                'Back-off restarting failed container thumbnails in pod photos-0',
                23,
                70,
              ],
              [
                'default',
                'Pod/backup-29318-r7c2d',
                'Warning',
                'FailedScheduling',
                '0/1 nodes are available: 1 Insufficient memory. no new claims to deallocate',
                9,
                190,
              ],
            ]
          : []),
        [
          'alcove-system',
          'Pod/gateway-6c9f7d5b84-x2k8p',
          'Normal',
          'Started',
          'Started container gateway',
          1,
          1800,
        ],
        [
          'alcove-system',
          'Pod/gateway-6c9f7d5b84-x2k8p',
          'Normal',
          'Pulled',
          'Container image "alcove.local/platformd:0.1.0" already present on machine',
          1,
          1803,
        ],
        [
          'kube-system',
          'Pod/coredns-7b9d4c8f6-vtq2m',
          'Normal',
          'Scheduled',
          'Successfully assigned kube-system/coredns-7b9d4c8f6-vtq2m to walnut-alcove',
          1,
          1820,
        ],
        [
          'default',
          'Node/walnut-alcove',
          'Normal',
          'NodeReady',
          'Node walnut-alcove status is now: NodeReady',
          1,
          1835,
        ],
      ].map(([namespace, object, kind, reason, message, count, ago]) => ({
        namespace,
        object,
        kind,
        reason,
        message,
        count,
        last: back(ago),
        source: 'kubelet',
      }));

export const snapshots = (scenario) =>
  scenario === 'empty'
    ? []
    : [
        {
          name: 'before-upgrade',
          created: back(86_400 * 2),
          with_memory: true,
          image: '4be1c93a77d0',
          state_bytes: 812 * MIB,
          note: 'All is well here',
        },
        {
          name: '2026-09-01-1830',
          created: back(86_400 * 11),
          with_memory: false,
          image: '4be1c93a77d0',
          state_bytes: 0,
          note: '',
        },
      ];

export const operations = (count = 14) =>
  Array.from({ length: count }, (_, at) => {
    const id = count - at;
    const what = ['machine.start', 'settings.change', 'machine.suspend', 'machine.resume', 'snapshot.create'][
      id % 5
    ];
    return {
      id,
      at: back(at * 1400 + 60),
      who: id % 4 === 0 ? 'supervisor' : 'owner',
      via: ['window', 'cli', 'browser', 'supervisor'][id % 4],
      what,
      subject: 'default',
      result: id % 9 === 5 ? 'failed' : 'succeeded',
      message: id % 9 === 5 ? 'No space is left on the disk of this computer' : '',
      task: what.startsWith('machine') ? `t${id}` : null,
    };
  });

export const pastTasks = () => [
  {
    id: 't9',
    kind: 'machine.resume',
    state: 'succeeded',
    message: '',
    progress: 1,
    cancellable: false,
    created: back(7900),
    ended: back(7898),
    error: null,
  },
  {
    id: 't8',
    kind: 'machine.suspend',
    state: 'failed',
    message: '',
    progress: null,
    cancellable: false,
    created: back(9900),
    ended: back(9890),
    error: {
      code: 'disk_full',
      message: 'The machine could not be saved: no space is left on this computer’s disk',
      hint: 'Free 1.2 GB in the data folder and suspend again. The machine was left running.',
      details: null,
    },
  },
  {
    id: 't7',
    kind: 'machine.start',
    state: 'succeeded',
    message: '',
    progress: 1,
    cancellable: false,
    created: back(19_900),
    ended: back(19_870),
    error: null,
  },
];

export const me = (long) => ({
  account: {
    name: 'ada',
    display_name: long ? 'Augusta Ada King, Countess of Lovelace and first of all programmers' : 'Ada',
  },
  node: 'walnut-alcove',
  pod: 'gateway-6c9f7d5b84-x2k8p',
  version: '0.1.0',
  kubernetes_version: 'v1.34.1',
});

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

export const IMAGE_BYTES = 287 * MIB;
export const IMAGE = '4be1c93a77d0';

/** An image as the list shows it. */
export const image = (version, role, created = '2026-09-01T08:30:00Z') => ({
  manifest: MANIFEST(version, created),
  folder: `/home/ada/.local/share/alcove/images/${version}`,
  bytes: IMAGE_BYTES,
  role,
  own: true,
  used_by: role === 'active' ? ['default'] : [],
});

/** What a package says about where its image comes from. */
export const imageSource = {
  schema: 1,
  from: `https://images.example/alcove/${IMAGE}/`,
  manifest_sha256: 'd'.repeat(64),
  manifest: MANIFEST(IMAGE, '2026-09-01T08:30:00Z'),
};
