import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { setLanguage } from '../../packages/i18n/src/translate.svelte';
import { en as desktopEn } from '../../apps/desktop/src/text/en';
import { zh as desktopZh } from '../../apps/desktop/src/text/zh';
import { t, tn } from '../../apps/native/src/text';
import { en } from '../../apps/native/src/text/en';
import { zh } from '../../apps/native/src/text/zh';
import { catalogues } from '../../packages/kit/src/text';

const root = fileURLToPath(new URL('../..', import.meta.url));
const parameters = (text: string) => [...new Set(text.match(/\{\w+\}/g) ?? [])].sort();

describe.each([
  ['native', en, zh],
  ['desktop', desktopEn, desktopZh],
  ['kit', catalogues.en, catalogues.zh],
] as [string, Record<string, string>, Record<string, string>][])('catalogue %s', (_, english, chinese) => {
  test('both languages have the same keys', () => {
    expect(Object.keys(chinese).sort()).toEqual(Object.keys(english).sort());
  });
  test('both languages use the same parameters and no text is empty', () => {
    for (const [key, text] of Object.entries(english)) {
      expect(text, key).not.toBe('');
      expect(chinese[key], key).not.toBe('');
      expect(parameters(chinese[key] ?? ''), key).toEqual(parameters(text));
    }
  });
  test('every singular has its plural', () => {
    for (const key of Object.keys(english).filter((name) => name.endsWith('.one'))) {
      expect(english[key.replace(/one$/, 'other')], key).toBeDefined();
    }
  });
});

test('parameters and plurals are filled in', () => {
  setLanguage('en');
  expect(t('common.of', { used: '1 GB', total: '4 GB' })).toBe('1 GB of 4 GB');
  expect(tn('state.pods', 1)).toBe('1 pod');
  expect(tn('state.pods', 10_000)).toBe('10,000 pods');
  setLanguage('zh');
  expect(tn('state.pods', 1)).toBe('1 个 Pod');
  setLanguage('en');
});

/** Every component of the applications and the kit. */
function components(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith('.svelte'))
    .map((entry) => join(entry.parentPath, entry.name));
}

test('no component has text of its own', () => {
  const found: string[] = [];
  for (const folder of ['apps/native/src', 'apps/desktop/src', 'packages/kit/src']) {
    for (const file of components(join(root, folder))) {
      const markup = readFileSync(file, 'utf8')
        .replace(/<script[\s\S]*?<\/script>/g, '')
        .replace(/<style[\s\S]*?<\/style>/g, '')
        .replace(/<!--[\s\S]*?-->/g, '');
      // Text between tags, once what is computed is taken out (braces nest at most three deep here).
      let plain = markup;
      for (let depth = 0; depth < 6; depth += 1) plain = plain.replace(/\{[^{}]*\}/g, '');
      for (const [, text = ''] of plain.matchAll(/>([^<>]+)</g)) {
        const words = text.replace(/&\w+;/g, '').trim();
        // The product's name and the names of keys are the same in every language.
        if (/[A-Za-z]{2,}/.test(words) && !['Alcove', 'Esc'].includes(words)) found.push(`${file}: ${words}`);
      }
      for (const [, name, value] of plain.matchAll(
        /\s(aria-label|title|placeholder|alt)="([^"]*[A-Za-z]{2,}[^"]*)"/g,
      )) {
        found.push(`${file}: ${name}="${value}"`);
      }
    }
  }
  expect(found).toEqual([]);
});
