// @ts-nocheck: its shapes are those of the wire types, which its users check.
// The computer that the machine is on, and what it proposes.
import { SETUP } from './machine.mjs';
import { GIB } from './units.mjs';

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

/** Every check with something to say. */
const worse = () =>
  ['virtualisation', 'qemu', 'memory', 'processors', 'disk', 'ports', 'time', 'secrets'].map((id) => ({
    id,
    title: `The check of ${id} here`,
    status: WARNS.includes(id) ? 'warn' : 'fail',
    message: `What was found of ${id} is not as it should be.`,
    hint: `Do what is needed about ${id} and check again.`,
  }));
const WARNS = ['virtualisation', 'secrets'];

const checks = (blocked) =>
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

const proposal = (blocked) => ({
  setup: SETUP,
  least: { memory_bytes: 2 * GIB, cpus: 1, disk_bytes: 10 * GIB },
  most: { memory_bytes: 12 * GIB, cpus: 8, disk_bytes: 170 * GIB },
  folder: '/home/ada/.local/share/alcove/machines/default',
  folder_free: 182 * GIB,
  checks: checks(blocked),
});

const host = {
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

/** Answers the calls about the host. */
export const answerHost = ({ scenario, state }, call) => {
  switch (call) {
    case 'GET /machine/proposal':
      return {
        body: state.worse ? { ...proposal(true), checks: worse() } : proposal(scenario === 'blocked'),
      };
    case 'GET /host':
      return { body: host };
    case 'GET /doctor':
      return { body: { checks: state.worse ? worse() : checks(false) } };
    default:
      return null;
  }
};
