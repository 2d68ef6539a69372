// @ts-nocheck: its shapes are those of the wire types, which its users check.
// What is being done and what was done.
import { notFound } from './answers.mjs';
import { back } from './units.mjs';

const operations = (count = 14) =>
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

const pastTasks = () => [
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

/** The tasks and the operations that a scenario has, to begin with. */
export const tasksOf = (scenario) => ({
  tasks: ['running', 'trouble', 'many', 'long'].includes(scenario) ? pastTasks() : [],
  operations: scenario === 'empty' ? [] : operations(scenario === 'many' ? 640 : 14),
});

const NO_SPACE = {
  code: 'disk_full',
  message: 'No space is left on this computer’s disk',
  hint: 'Free 1.2 GB in the data folder and try again.',
  details: null,
};

/** Begins tasks and answers the calls about them. */
export function fakeTasks({ instance, state, send, later }) {
  let last = 20;
  /** Ends of tasks that wait for the test. */
  const held = [];
  const nextId = () => `t${(last += 1)}`;

  /** Begins a task that succeeds after `ms` milliseconds; `done` is what comes of it. */
  function task(kind, ms, done) {
    const one = {
      id: nextId(),
      kind,
      state: 'running',
      message: '',
      progress: 0.3,
      cancellable: kind === 'machine.start',
      created: new Date().toISOString(),
      ended: null,
      error: null,
    };
    state.tasks = [one, ...state.tasks];
    send('task', one);
    const operation = {
      id: (state.operations[0]?.id ?? 0) + 1,
      at: one.created,
      who: 'owner',
      via: 'browser',
      what: kind,
      subject: instance,
      result: 'accepted',
      message: '',
      task: one.id,
    };
    state.operations = [operation, ...state.operations];
    send('operation', operation);
    const end = () => {
      if (one.ended) return;
      const failed = state.tasksFail;
      // What comes of it is there when its end is told.
      if (!failed) done?.();
      Object.assign(one, {
        state: failed ? 'failed' : 'succeeded',
        progress: failed ? one.progress : 1,
        cancellable: false,
        ended: new Date().toISOString(),
        error: failed ? NO_SPACE : null,
      });
      send('task', one);
    };
    if (state.holdTasks) held.push(end);
    else later(ms, end);
    return one;
  }

  return {
    nextId,
    task,
    /** Ends the tasks that were held. */
    endTasks: () => {
      for (const end of held.splice(0)) end();
    },
    answer(method, path, query) {
      if (/^\/tasks\/[^/]+\/cancel$/.test(path)) {
        const one = state.tasks.find(({ id }) => path.includes(`/${id}/`));
        if (!one) return notFound('There is no such task');
        Object.assign(one, { state: 'cancelled', cancellable: false, ended: new Date().toISOString() });
        send('task', one);
        return { body: one };
      }
      const single = /^\/tasks\/([^/]+)$/.exec(path)?.[1];
      if (method === 'GET' && single) {
        const one = state.tasks.find(({ id }) => id === single);
        return one ? { body: one } : notFound('There is no such task');
      }
      switch (`${method} ${path}`) {
        case 'GET /tasks':
          return { body: { tasks: state.tasks } };
        case 'GET /operations': {
          const before = Number(query.get('before') ?? Infinity);
          const page = state.operations
            .filter(({ id }) => id < before)
            .slice(0, Number(query.get('limit') ?? 100));
          return { body: { operations: page, next_before: page.at(-1)?.id > 1 ? page.at(-1).id : null } };
        }
        default:
          return null;
      }
    },
  };
}
