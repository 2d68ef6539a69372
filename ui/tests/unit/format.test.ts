import { beforeEach, describe, expect, test } from 'vitest';
import { age, ago, bytes, duration, percent, setLanguage, since } from '../../packages/i18n/src';

beforeEach(() => setLanguage('en'));

test.each([
  [0, '0 B'],
  [512, '512 B'],
  [1024, '1 KB'],
  [1536, '1.5 KB'],
  [999 * 1024, '999 KB'],
  [1024 ** 3, '1 GB'],
  [1.38 * 1024 ** 3, '1.4 GB'],
  [182 * 1024 ** 3, '182 GB'],
  [1023.9 * 1024 ** 3, '1 TB'],
  [-5, '0 B'],
])('%d bytes are %s', (value, text) => expect(bytes(value)).toBe(text));

test.each([
  [0, '0.0 s'],
  [2.06, '2.0 s'],
  [9.96, '9 s'],
  [59.9, '59 s'],
  [60, '1 min'],
  [185, '3 min 5 s'],
  [7834, '2 h 10 min'],
  [86_400, '1 d'],
  [97_300, '1 d 3 h'],
])('%d seconds are %s', (value, text) => expect(duration(value)).toBe(text));

describe('ages', () => {
  test.each([
    [8, '8s'],
    [119, '119s'],
    [120, '2m'],
    [7199, '119m'],
    [7200, '2h'],
    [172_800, '2d'],
  ])('%d is %s', (value, text) => expect(age(value)).toBe(text));
  test('in Chinese they are Chinese', () => {
    setLanguage('zh');
    expect([8, 120, 7200, 345_600].map(age)).toEqual(['8秒', '2分', '2时', '4天']);
  });
  test('a time that can’t be read is no age', () => expect(since('never', Date.now())).toBe(0));
  test('in words, in both languages', () => {
    const now = Date.parse('2026-01-02T12:00:00Z');
    expect(ago('2026-01-02T11:59:50Z', now)).toBe('now');
    expect(ago('2026-01-02T11:00:00Z', now)).toBe('1 hour ago');
    expect(ago('2026-01-01T12:00:00Z', now)).toBe('yesterday');
    setLanguage('zh');
    expect(ago('2026-01-02T11:00:00Z', now)).toBe('1小时前');
  });
});

test('shares are held between none and all', () => {
  expect([percent(-1), percent(0.124), percent(7)]).toEqual(['0%', '12%', '100%']);
});
