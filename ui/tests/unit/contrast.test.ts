import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { contrast, hex } from '../../packages/kit/tokens/oklch.mjs';
import { css, pairs, themes } from '../../packages/kit/tokens/tokens.mjs';

describe('OKLCH', () => {
  test('the corners of sRGB come out right', () => {
    expect(hex({ l: 1, c: 0, h: 0 })).toBe('#ffffff');
    expect(hex({ l: 0, c: 0, h: 0 })).toBe('#000000');
    expect(hex({ l: 0.62796, c: 0.25768, h: 29.234 })).toBe('#ff0000');
  });
  test('contrast is that of WCAG', () => {
    expect(contrast('#000000', '#ffffff')).toBeCloseTo(21, 5);
    expect(contrast('#777777', '#ffffff')).toBeCloseTo(4.48, 2);
  });
});

describe.each(Object.entries(themes))('%s', (_, roles) => {
  test.each(pairs)('%s on %s has at least %f', (one, other, least) => {
    expect(roles[one], one).toBeDefined();
    expect(roles[other], other).toBeDefined();
    expect(contrast(roles[one] ?? '', roles[other] ?? '')).toBeGreaterThanOrEqual(least);
  });
});

test('all themes have the same roles', () => {
  const names = Object.keys(themes.light).sort();
  for (const roles of Object.values(themes)) expect(Object.keys(roles).sort()).toEqual(names);
});

test('the style sheet is the one that the seeds make', () => {
  expect(readFileSync(new URL('../../packages/kit/src/tokens.css', import.meta.url), 'utf8')).toBe(css());
});
