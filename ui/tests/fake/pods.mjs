// @ts-nocheck: its shapes are those of the wire types, which its users check.
// Pods, well and unwell.
import { back, MIB } from './units.mjs';

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

/** The pods of a scenario. */
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
