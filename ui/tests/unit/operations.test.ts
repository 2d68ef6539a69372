import { beforeEach, describe, expect, test } from 'vitest';
import type { Machine, Operation } from '../../packages/api/src';
import { setLanguage } from '../../packages/i18n/src';
import { conditionsInOrder, conditionWords, sentence } from '../../apps/native/src/machine';
import { fitting, operationMessage, operationWords } from '../../apps/native/src/operations';
import { en } from '../../apps/native/src/text/en';
import * as data from '../fake/machine.mjs';

beforeEach(() => setLanguage('en'));
const operation = (part: Partial<Operation>): Operation => ({
  id: 1,
  at: '2026-01-02T12:00:00Z',
  who: 'owner',
  via: 'cli',
  what: 'machine.start',
  subject: 'default',
  result: 'succeeded',
  message: '',
  ...part,
});

describe('operations as sentences', () => {
  test.each([
    [{}, 'Started the machine', '启动了云主机'],
    [{ result: 'accepted' }, 'Asked to start the machine', '请求启动云主机'],
    [{ result: 'failed' }, 'Could not start the machine', '未能启动云主机'],
    [{ result: 'cancelled' }, 'Was to start the machine, and was cancelled', '启动云主机（已取消）'],
    [{ what: 'machine.crashed', result: 'failed' }, 'The machine ended unexpectedly', '云主机意外终止'],
    [
      { what: 'settings.change', subject: 'theme, start_at_login' },
      'Changed settings: theme, start at login',
      '更改了设置：主题，登录时启动',
    ],
    [{ what: 'image.import' }, 'image.import', 'image.import'],
  ] as [Partial<Operation>, string, string][])('%o', (part, english, chinese) => {
    expect(operationWords(operation(part))).toBe(english);
    setLanguage('zh');
    expect(operationWords(operation(part))).toBe(chinese);
  });
  test('every task that has a name has its sentence', () => {
    for (const key of Object.keys(en).filter((name) => name.startsWith('task.'))) {
      expect(Object.keys(en), key).toContain(`op.${key.slice(5)}.done`);
    }
  });
  test('a size is written as people write it, and a sentence begins with a capital', () => {
    expect(operationMessage(operation({ message: '851443712 bytes' }))).toBe('Saved in 812 MB');
    expect(operationMessage(operation({ message: 'the disk is full' }))).toBe('The disk is full');
    expect(sentence('QEMU died')).toBe('QEMU died');
    expect(sentence('éteint')).toBe('Éteint');
  });
  test('are found by who, what, result and words together', () => {
    const all = [
      operation({ id: 1 }),
      operation({ id: 2, who: 'supervisor', result: 'failed', message: 'no space' }),
      operation({ id: 3, what: 'machine.suspend', result: 'failed' }),
    ];
    const none = { search: '', who: '', what: '', result: '' };
    const ids = (wanted: object) => fitting(all, { ...none, ...wanted }).map(({ id }) => id);
    expect(ids({})).toEqual([1, 2, 3]);
    expect(ids({ result: 'failed' })).toEqual([2, 3]);
    expect(ids({ result: 'failed', who: 'supervisor' })).toEqual([2]);
    expect(ids({ what: 'machine.suspend' })).toEqual([3]);
    expect(ids({ search: 'SPACE could' })).toEqual([2]);
  });
});

describe('conditions', () => {
  const machine = { phase: 'running', conditions: data.conditions(true) } as unknown as Machine;

  test('attention comes first, the rest stays in its order', () => {
    expect(conditionsInOrder(machine).map(({ type }) => type)).toEqual([
      'KubernetesReady',
      'DiskHealthy',
      'DoorOpen',
      'PlatformReady',
      'ClockInSync',
      'MemoryHealthy',
    ]);
  });
  test('in Chinese they are told by their meaning, and the machine’s own words are the original', () => {
    const [kubernetes, , door] = conditionsInOrder(machine);
    if (!kubernetes || !door) throw new Error('they are there');
    expect(conditionWords(kubernetes)).toMatchObject({ title: 'Kubernetes', original: '' });
    setLanguage('zh');
    expect(conditionWords(kubernetes)).toMatchObject({
      text: 'Kubernetes 未就绪。',
      hint: expect.stringMatching(/日志/) as string,
    });
    expect(conditionWords(kubernetes).original).toMatch(/^Running, but .*Kubernetes log\.$/);
    expect(conditionWords(door)).toMatchObject({ text: '云主机有响应。', hint: '' });
    // One that is newer than this page has no meaning here: its own words are the original.
    const newer = { ...kubernetes, type: 'Newer' };
    expect(conditionWords(newer)).toMatchObject({ title: 'Newer', text: '' });
    expect(conditionWords(newer).original).not.toBe('');
  });
});
