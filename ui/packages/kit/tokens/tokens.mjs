// The seeds of the look. Everything coloured is made from here: components only know roles.
import { hex } from './oklch.mjs';

/** Hue of the neutral ramp: warm. */
const WARM = 75;
/** Hue of the accent: a lamp's amber-terracotta. */
const LAMP = 42;
/** Hue of what is measured: neither something to do nor a status. */
const DATA = 335;
const HUES = { good: 150, busy: 240, attention: 80, failed: 25 };

/** @param {number} l @param {number} [c] @param {number} [h] */
const neutral = (l, c = 0.008, h = WARM) => hex({ l, c, h });
/** @param {number} l @param {number} c @param {number} h */
const colour = (l, c, h) => hex({ l, c, h });

/** @typedef {Record<string, string>} Roles */

/** @type {Roles} */
const light = {
  ground: neutral(0.968, 0.007),
  rail: neutral(0.948, 0.009),
  surface: neutral(0.992, 0.004),
  'surface-raised': neutral(0.998, 0.002),
  'surface-sunken': neutral(0.955, 0.007),
  hover: neutral(0.938, 0.01),
  selected: neutral(0.915, 0.012),
  line: neutral(0.895, 0.01),
  'line-strong': neutral(0.62, 0.012),
  text: neutral(0.25, 0.012),
  'text-quiet': neutral(0.475, 0.012),
  accent: colour(0.555, 0.142, LAMP),
  'accent-hover': colour(0.505, 0.137, LAMP),
  'accent-text': colour(0.5, 0.135, LAMP),
  'accent-soft': colour(0.935, 0.03, LAMP + 8),
  'on-accent': neutral(0.995, 0.003),
  focus: colour(0.57, 0.15, LAMP),
  good: colour(0.45, 0.1, HUES.good),
  'good-solid': colour(0.58, 0.125, HUES.good),
  'good-soft': colour(0.945, 0.035, HUES.good),
  busy: colour(0.45, 0.1, HUES.busy),
  'busy-solid': colour(0.58, 0.125, HUES.busy),
  'busy-soft': colour(0.945, 0.025, HUES.busy),
  attention: colour(0.46, 0.095, HUES.attention - 8),
  'attention-solid': colour(0.62, 0.13, HUES.attention - 4),
  'attention-soft': colour(0.95, 0.045, HUES.attention + 8),
  failed: colour(0.475, 0.165, HUES.failed),
  'failed-solid': colour(0.565, 0.19, HUES.failed),
  'failed-soft': colour(0.945, 0.025, HUES.failed),
  'terminal-ground': neutral(0.22, 0.009),
  'terminal-text': neutral(0.92, 0.008),
  'chart-one': colour(0.52, 0.05, DATA),
  'chart-two': colour(0.62, 0.05, WARM),
};

/** @type {Roles} */
const dark = {
  ground: neutral(0.2, 0.007),
  rail: neutral(0.178, 0.007),
  surface: neutral(0.238, 0.008),
  'surface-raised': neutral(0.275, 0.009),
  'surface-sunken': neutral(0.168, 0.006),
  hover: neutral(0.285, 0.01),
  selected: neutral(0.325, 0.012),
  line: neutral(0.318, 0.009),
  'line-strong': neutral(0.58, 0.012),
  text: neutral(0.93, 0.008),
  'text-quiet': neutral(0.73, 0.012),
  accent: colour(0.745, 0.125, LAMP + 8),
  'accent-hover': colour(0.8, 0.115, LAMP + 10),
  'accent-text': colour(0.775, 0.115, LAMP + 8),
  'accent-soft': colour(0.315, 0.045, LAMP),
  'on-accent': colour(0.2, 0.03, LAMP),
  focus: colour(0.75, 0.125, LAMP + 8),
  good: colour(0.79, 0.12, HUES.good),
  'good-solid': colour(0.72, 0.14, HUES.good),
  'good-soft': colour(0.305, 0.042, HUES.good),
  busy: colour(0.8, 0.085, HUES.busy),
  'busy-solid': colour(0.71, 0.115, HUES.busy),
  'busy-soft': colour(0.305, 0.045, HUES.busy),
  attention: colour(0.83, 0.115, HUES.attention),
  'attention-solid': colour(0.78, 0.135, HUES.attention),
  'attention-soft': colour(0.315, 0.045, HUES.attention),
  failed: colour(0.785, 0.11, HUES.failed),
  'failed-solid': colour(0.685, 0.175, HUES.failed),
  'failed-soft': colour(0.305, 0.06, HUES.failed),
  'terminal-ground': neutral(0.158, 0.006),
  'terminal-text': neutral(0.9, 0.008),
  'chart-one': colour(0.735, 0.05, DATA),
  'chart-two': colour(0.68, 0.045, WARM),
};

/** @type {Roles} */
const contrast = {
  ground: '#000000',
  rail: '#000000',
  surface: '#000000',
  'surface-raised': '#0f0d0b',
  'surface-sunken': '#000000',
  hover: neutral(0.28, 0.012),
  selected: neutral(0.34, 0.014),
  line: neutral(0.72, 0.008),
  'line-strong': '#ffffff',
  text: '#ffffff',
  'text-quiet': neutral(0.93, 0.006),
  accent: colour(0.86, 0.12, 70),
  'accent-hover': colour(0.92, 0.09, 75),
  'accent-text': colour(0.88, 0.11, 70),
  'accent-soft': colour(0.28, 0.05, LAMP),
  'on-accent': '#000000',
  focus: colour(0.93, 0.15, 100),
  good: colour(0.88, 0.16, HUES.good),
  'good-solid': colour(0.86, 0.18, HUES.good),
  'good-soft': colour(0.22, 0.05, HUES.good),
  busy: colour(0.87, 0.09, HUES.busy),
  'busy-solid': colour(0.84, 0.11, HUES.busy),
  'busy-soft': colour(0.22, 0.05, HUES.busy),
  attention: colour(0.92, 0.14, HUES.attention + 10),
  'attention-solid': colour(0.9, 0.16, HUES.attention + 10),
  'attention-soft': colour(0.24, 0.05, HUES.attention),
  failed: colour(0.84, 0.12, HUES.failed),
  'failed-solid': colour(0.8, 0.15, HUES.failed),
  'failed-soft': colour(0.23, 0.07, HUES.failed),
  'terminal-ground': '#000000',
  'terminal-text': '#ffffff',
  'chart-one': colour(0.86, 0.07, DATA),
  'chart-two': colour(0.85, 0.06, WARM),
};

export const themes = { light, dark, contrast };

const READ = 4.5;
const SEEN = 3;
const grounds = ['ground', 'rail', 'surface', 'surface-raised', 'surface-sunken', 'hover', 'selected'];

/** Every pair of roles that is drawn one on the other, with the least contrast that it needs.
 * @type {Array<[string, string, number]>} */
export const pairs = [
  ...grounds.flatMap(
    (on) =>
      /** @type {Array<[string, string, number]>} */ ([
        ['text', on, 7],
        ['text-quiet', on, READ],
        ['accent-text', on, READ],
        ['focus', on, SEEN],
        ['line-strong', on, on === 'selected' || on === 'hover' ? 2.5 : SEEN],
      ]),
  ),
  ['on-accent', 'accent', READ],
  ['on-accent', 'accent-hover', READ],
  ['accent', 'ground', SEEN],
  ['accent', 'surface', SEEN],
  ['text', 'accent-soft', 7],
  ['text-quiet', 'accent-soft', READ],
  ['accent-text', 'accent-soft', READ],
  ...['good', 'busy', 'attention', 'failed'].flatMap(
    (status) =>
      /** @type {Array<[string, string, number]>} */ ([
        [status, 'ground', READ],
        [status, 'rail', READ],
        [status, 'surface', READ],
        [status, 'surface-raised', READ],
        [status, 'surface-sunken', READ],
        [status, 'hover', READ],
        [status, 'selected', READ],
        [status, `${status}-soft`, READ],
        ['text', `${status}-soft`, 7],
        ['text-quiet', `${status}-soft`, READ],
        [`${status}-solid`, 'ground', SEEN],
        [`${status}-solid`, 'surface', SEEN],
        [`${status}-solid`, 'rail', SEEN],
      ]),
  ),
  ['terminal-text', 'terminal-ground', 7],
  ['chart-one', 'surface', SEEN],
  // A meter's share on its track.
  ['chart-one', 'selected', SEEN],
  ['chart-two', 'surface', SEEN],
];

const shadows = {
  light: '0 1px 2px rgb(60 45 30 / 8%), 0 8px 28px rgb(60 45 30 / 14%)',
  dark: '0 1px 2px rgb(0 0 0 / 40%), 0 10px 32px rgb(0 0 0 / 45%)',
  contrast: '0 0 0 1px #ffffff',
};
const scrims = { light: 'rgb(50 40 30 / 32%)', dark: 'rgb(0 0 0 / 55%)', contrast: 'rgb(0 0 0 / 80%)' };

/** The style sheet of the tokens. */
export function css() {
  /** @param {'light' | 'dark' | 'contrast'} name @param {string} indent */
  const block = (name, indent) =>
    [
      `color-scheme: ${name === 'light' ? 'light' : 'dark'};`,
      ...Object.entries(themes[name]).map(([role, value]) => `--${role}: ${value};`),
      `--shadow: ${shadows[name]};`,
      `--scrim: ${scrims[name]};`,
    ]
      .map((line) => indent + line)
      .join('\n');
  return `/* Written by tokens/write.mjs from tokens/tokens.mjs: change the seeds there, not here. */
:root,
[data-theme='light'] {
${block('light', '  ')}
}

@media (prefers-color-scheme: dark) {
  :root:not([data-theme]) {
${block('dark', '    ')}
  }
}

@media (prefers-contrast: more) {
  :root:not([data-theme]) {
${block('contrast', '    ')}
  }
}

[data-theme='dark'] {
${block('dark', '  ')}
}

[data-theme='contrast'] {
${block('contrast', '  ')}
}
`;
}
