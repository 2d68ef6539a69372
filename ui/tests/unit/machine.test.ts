import { beforeEach, describe, expect, test } from 'vitest';
import type { BootReport, Machine, Task } from '../../packages/api/src';
import { setLanguage } from '../../packages/i18n/src';
import { errorWords } from '../../apps/native/src/errors';
import {
  bootShare,
  bootSteps,
  machineTone,
  isOn,
  isStuck,
  mainAction,
  phaseWords,
  restsLong,
  slow,
  stateWords,
  taskWords,
} from '../../apps/native/src/machine';
import * as fakeBoot from '../fake/boot.mjs';
import * as data from '../fake/machine.mjs';

beforeEach(() => setLanguage('en'));

const machine = (part: Partial<Machine>): Machine =>
  ({
    phase: 'running',
    conditions: [],
    guest: data.guest(false),
    host_memory_bytes: null,
    capabilities: data.capabilities,
    ...part,
  }) as Machine;
const boot = (ms: number, options = {}) => fakeBoot.boot(ms, options) as BootReport;

describe('the state in words', () => {
  test('running, with all well', () => {
    expect(stateWords(machine({}), { total: 5, well: 5 })).toBe(
      '5 pods, 1.4 GB of memory in use, up 2 h 10 min.',
    );
  });
  test('running, with something amiss, says that first', () => {
    const words = stateWords(machine({ conditions: data.conditions(true) as Machine['conditions'] }), null);
    expect(words).toBe('Running, but Kubernetes has not answered for 40 seconds.');
  });
  test('each phase has words, a shape and the action that fits', () => {
    for (const [phase, tone, action] of [
      ['running', 'good', 'suspend'],
      ['suspended', 'idle', 'resume'],
      ['stopped', 'idle', 'start'],
      ['failed', 'failed', 'start'],
      ['starting', 'busy', 'stop'],
      ['suspending', 'busy', null],
      ['stopping', 'busy', null],
    ] as const) {
      const one = machine({ phase });
      expect(stateWords(one, null)).not.toBe('');
      expect(machineTone(one)).toBe(tone);
      expect(mainAction(one)).toBe(action);
    }
  });
  test('what was given up on and is still on says so, and tries again what it was given up on', () => {
    const stuck = machine({ phase: 'failed', host_memory_bytes: 2e9, desired: 'running' });
    expect([isOn(stuck), isStuck(stuck), phaseWords(stuck)]).toEqual([true, true, 'Stuck']);
    expect(stateWords(stuck, null)).toContain('still on');
    expect(mainAction(stuck)).toBe('start');
    expect(mainAction({ ...stuck, desired: 'stopped' })).toBe('stop');
    expect(mainAction({ ...stuck, desired: 'suspended' })).toBe('suspend');

    const off = machine({ phase: 'failed', desired: 'stopped' });
    expect([isOn(off), isStuck(off), phaseWords(off)]).toEqual([false, false, 'Didn’t come up']);
    expect(mainAction(off)).toBe('start');
  });
  test('a way to rest is long after a while, a suspend later the more memory there is', () => {
    const now = Date.parse('2026-09-12T10:00:00Z');
    const taken = (phase: Machine['phase'], seconds: number, memory: number) =>
      restsLong(
        machine({
          phase,
          since: new Date(now - seconds * 1000).toISOString(),
          setup: { ...data.SETUP, memory_bytes: memory },
        }),
        now,
      );
    expect(taken('stopping', 40, 64e9)).toBe(null);
    expect(taken('stopping', 50, 64e9)).toBe(50);
    expect(taken('suspending', 60, 2e9)).toBe(60);
    expect(taken('suspending', 60, 8e9)).toBe(null);
    expect(taken('running', 6000, 2e9)).toBe(null);
  });
  test('a provider that can’t suspend offers to shut down', () => {
    expect(mainAction(machine({ capabilities: { ...data.capabilities, suspend: false } }))).toBe('stop');
  });
});

describe('the boot', () => {
  test('times run on while a step runs', () => {
    const steps = bootSteps(boot(11_400), 12_400);
    expect(steps.find(({ name }) => name === 'kernel')).toMatchObject({ state: 'done', time: '0.9 s' });
    expect(steps.find(({ name }) => name === 'apiserver')).toMatchObject({
      state: 'running',
      time: '6 s',
      slow: false,
    });
    expect(steps.find(({ name }) => name === 'platform')).toMatchObject({
      state: 'waiting',
      time: 'about 3.6 s',
    });
  });
  test('the running step shows its last line, the failed one its reason', () => {
    expect(bootSteps(boot(11_400), 11_400).find(({ state }) => state === 'running')?.note).toContain(
      'bootstrap-roles',
    );
    const failed = bootSteps(boot(96_000, { failed: 'apiserver' }), 96_000).find(
      ({ state }) => state === 'failed',
    );
    expect(failed?.note).toContain('within 90 s');
  });
  test('a step that says nothing shows the last line of the serial port, the first running one alone', () => {
    const report = boot(6200);
    const silent = { ...report, steps: report.steps.map((step) => ({ ...step, log: [], message: null })) };
    const notes = bootSteps(silent, 6200, '[    3.1] clocksource: Switched to kvm-clock').flatMap(
      ({ note, state }) => (note ? [[state, note]] : []),
    );
    expect(silent.steps.filter(({ state }) => state === 'running').length).toBeGreaterThan(1);
    expect(notes).toEqual([['running', '[    3.1] clocksource: Switched to kvm-clock']]);
  });
  test('a step is slow against its own past', () => {
    const step = boot(71_000, { stuck: 'apiserver' }).steps.find(({ name }) => name === 'apiserver');
    expect(step && slow(step, 71_000)).toBe(true);
    expect(step && slow(step, 15_000)).toBe(false);
  });
  test('progress follows the estimate, else the steps, and never says done too early', () => {
    expect(bootShare(boot(13_000), 13_000)).toBeCloseTo(0.5);
    expect(bootShare(boot(71_000, { stuck: 'node' }), 71_000)).toBe(0.97);
    expect(bootShare(boot(3000, { estimate: null }), 3000)).toBeCloseTo(3 / 14);
    expect(bootShare(boot(30_000), 30_000)).toBe(1);
  });
  test('a step that the catalogue doesn’t know keeps its own name', () => {
    const report = boot(100);
    expect(bootSteps({ ...report, steps: [{ ...report.steps[0]!, name: 'new_step' }] }, 100)[0]?.title).toBe(
      'new_step',
    );
  });
});

test('a task tells the step of the boot by its name', () => {
  expect(taskWords({ message: 'step:apiserver' } as Task)).toBe('Cluster API');
  expect(taskWords({ message: 'Saving memory' } as Task)).toBe('Saving memory');
});

describe('errors', () => {
  const error = { code: 'disk_full', message: 'No space is left in /data', hint: 'Free 1 GB.' } as const;
  test('the supervisor’s words come first', () => {
    expect(errorWords(error)).toEqual({
      title: 'No space is left in /data',
      text: '',
      hint: 'Free 1 GB.',
      original: '',
    });
  });
  test('in another language they are the original of what the code means', () => {
    setLanguage('zh');
    expect(errorWords(error)).toEqual({
      title: '磁盘空间不足',
      text: '',
      hint: '请释放一些磁盘空间，然后重试。',
      original: 'No space is left in /data Free 1 GB.',
    });
  });
  test('an answer without words is told by its code', () => {
    expect(errorWords({ code: 'forbidden', message: 'HTTP 403', hint: '' }).title).toBe(
      'You may not do this',
    );
  });
});
