import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { contrast, hex } from '../../packages/kit/tokens/oklch.mjs';
import { css, pairs, themes } from '../../packages/kit/tokens/tokens.mjs';

/** The hue of a colour as people name it, degrees. */
function hue(colour: string): number {
  const [r = 0, g = 0, b = 0] = [1, 3, 5].map((at) => Number.parseInt(colour.slice(at, at + 2), 16));
  return (Math.atan2(Math.sqrt(3) * (g - b), 2 * r - g - b) * 180) / Math.PI;
}
/** How far two hues lie apart on their circle. */
function hueApart(one: string, other: string): number {
  const turn = Math.abs(hue(one) - hue(other)) % 360;
  return Math.min(turn, 360 - turn);
}

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

test('what is measured looks neither like what can be done nor like a status', () => {
  for (const roles of Object.values(themes)) {
    const others = ['accent', 'good-solid', 'busy-solid', 'attention-solid', 'failed-solid'];
    const far = others.map((role) => hueApart(roles['chart-one'] ?? '', roles[role] ?? ''));
    expect(Math.min(...far)).toBeGreaterThan(40);
  }
});

test('all themes have the same roles', () => {
  const names = Object.keys(themes.light).sort();
  for (const roles of Object.values(themes)) expect(Object.keys(roles).sort()).toEqual(names);
});

test('the style sheet is the one that the seeds make', () => {
  expect(readFileSync(new URL('../../packages/kit/src/tokens.css', import.meta.url), 'utf8')).toBe(css());
});
