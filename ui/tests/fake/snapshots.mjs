// @ts-nocheck: its shapes are those of the wire types, which its users check.
// Copies of the machine.
import { back, MIB } from './units.mjs';

/** The copies that a scenario has. */
export const snapshotsOf = (scenario) =>
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

/** Answers the calls about snapshots. */
export const fakeSnapshots = ({ state, task }) => ({
  answer(method, path, _query, body) {
    const [, name, restore] = /^\/machine\/snapshots\/([^/]+)(\/restore)?$/.exec(path) ?? [];
    if (name && method === 'DELETE') {
      const gone = () => {
        state.snapshots = state.snapshots.filter((one) => one.name !== decodeURIComponent(name));
      };
      return { status: 202, body: task('snapshot.delete', 150, gone) };
    }
    if (restore && method === 'POST') return { status: 202, body: task('snapshot.restore', 300) };
    switch (`${method} ${path}`) {
      case 'GET /machine/snapshots':
        return { body: state.snapshots };
      case 'POST /machine/snapshots': {
        const made = {
          name: body.name,
          created: new Date().toISOString(),
          with_memory: false,
          image: '4be1c93a77d0',
          state_bytes: 0,
          note: body.note,
        };
        const there = () => {
          state.snapshots = [made, ...state.snapshots];
        };
        return { status: 202, body: task('snapshot.create', 300, there) };
      }
      default:
        return null;
    }
  },
});
