import { readdirSync, readFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { plainLine } from '../../packages/kit/src/log';
import { score, type Command } from '../../packages/kit/src/palette';
import { seeking } from '../../packages/kit/src/search';
import { lookOf } from '../../apps/desktop/src/look';
import { kept, snapAt, snapBox } from '../../apps/desktop/src/place';

test('log lines lose their escape sequences and nothing else', () => {
  expect(plainLine('\u001b[1;31mError\u001b[0m: 中文\ttab')).toBe('Error: 中文\ttab');
  expect(plainLine('\u001bcSeaBIOS')).toBe('SeaBIOS');
  expect(plainLine('\u001b]0;title\u0007text\u0000')).toBe('text');
});

test('a list is searched for all words, in any order and case', () => {
  expect(seeking(' Web  team-1 ')('team-1 web-0 running')).toBe(true);
  expect(seeking('web team-2')('team-1 web-0 running')).toBe(false);
  expect(seeking('  ')('')).toBe(true);
});

test('the palette finds by any words in any order, titles first', () => {
  const command = (title: string, group = 'Machine', words = ''): Command => ({
    id: title,
    title,
    group,
    words,
    run: () => undefined,
  });
  const suspend = command('Suspend', 'Machine', 'sleep');
  expect(score(suspend, '')).toBeGreaterThan(0);
  expect(score(suspend, 'sleep mach')).toBeGreaterThan(0);
  expect(score(suspend, 'zzz')).toBe(0);
  expect(score(suspend, 'sus')).toBeGreaterThan(score(command('Now suspend'), 'sus'));
});

test('a look that is not understood is the system’s', () => {
  expect(lookOf({ language: 'zh', theme: 'contrast' })).toEqual({ language: 'zh', theme: 'contrast' });
  expect(lookOf({ language: null, theme: 'system' })).toEqual({ language: null, theme: null });
  const newer = { language: 'fr', theme: 'sepia' } as unknown as Parameters<typeof lookOf>[0];
  expect(lookOf(newer)).toEqual({ language: null, theme: null });
  expect(lookOf({})).toEqual({ language: null, theme: null });
});

test('windows snap at the edges and stay within reach', () => {
  expect([
    snapAt(500, 3, 1280),
    snapAt(2, 300, 1280),
    snapAt(1275, 300, 1280),
    snapAt(500, 300, 1280),
  ]).toEqual(['fill', 'left', 'right', null]);
  expect(snapBox('right', 1281, 700)).toEqual({ left: 641, top: 0, width: 640, height: 700 });
  expect(kept({ left: -900, top: -50, width: 400, height: 300 }, 1280, 700)).toEqual({
    left: -320,
    top: 0,
    width: 400,
    height: 300,
  });
  expect(kept({ left: 5000, top: 5000, width: 400, height: 300 }, 320, 240)).toEqual({
    left: 240,
    top: 200,
    width: 320,
    height: 240,
  });
});

test('only the window’s own platform imports the shell', () => {
  const root = fileURLToPath(new URL('../..', import.meta.url));
  const importers = ['apps', 'packages']
    .flatMap((folder) => readdirSync(join(root, folder), { recursive: true, withFileTypes: true }))
    .filter((entry) => entry.isFile() && /\.(ts|svelte)$/.test(entry.name))
    .map((entry) => join(entry.parentPath, entry.name))
    .filter((file) => !file.includes('node_modules') && readFileSync(file, 'utf8').includes('@tauri-apps'));
  expect(importers.map((file) => relative(root, file))).toEqual(['packages/platform/src/tauri.ts']);
});
