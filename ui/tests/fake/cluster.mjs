// @ts-nocheck: its shapes are those of the wire types, which its users check.
// What the machine's cluster says of itself.
import { wrong } from './answers.mjs';
import { pods } from './pods.mjs';
import { back, GIB } from './units.mjs';

const nodes = (scenario) =>
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

const events = (scenario) =>
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

/** Answers the calls about the cluster. */
export function fakeCluster({ scenario, state }) {
  /** Ten thousand pods are made and written once: the stand-in must not be what is measured. */
  let all = null;
  let turn = 0;
  function podList() {
    if (scenario !== 'many') return pods(scenario);
    all ??= pods(scenario);
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

  return {
    answer(method, path) {
      switch (`${method} ${path}`) {
        case 'GET /cluster/overview': {
          const list = podList();
          const ready = nodes(scenario);
          return {
            body: {
              nodes: { total: ready.length, well: ready.filter((node) => node.ready).length },
              pods: { total: list.length, well: list.filter(({ health }) => health === 'good').length },
              version: 'v1.34.1+alcove',
              warnings: events(scenario).filter(({ kind }) => kind === 'Warning').length,
            },
          };
        }
        case 'GET /cluster/nodes':
          return { body: { items: nodes(scenario) } };
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
          return { body: { items: events(scenario) } };
        default:
          return null;
      }
    },
  };
}
