import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { setLanguage } from '../../packages/i18n/src/translate.svelte';
import { en as desktopEn } from '../../apps/desktop/src/text/en';
import { zh as desktopZh } from '../../apps/desktop/src/text/zh';
import { t, tn } from '../../apps/native/src/text';
import { en } from '../../apps/native/src/text/en';
import { catalogue } from '../../apps/native/src/text/said';
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

describe('what the supervisor says is told in Chinese', () => {
  const source = (path: string) => readFileSync(join(root, path), 'utf8');
  test('every error, with what to do', () => {
    const union = /ErrorCode = ([^;]+);/.exec(source('packages/api/src/gen/types.ts'))?.[1] ?? '';
    const codes = [...union.matchAll(/"(\w+)"/g)].map(([, code]) => code ?? '');
    expect(codes).toContain('disk_full');
    for (const code of codes) {
      expect(Object.keys(zh), code).toContain(`error.${code}`);
      if (code !== 'supervisor_unreachable') expect(catalogue[`error.${code}.hint`], code).toBeTruthy();
    }
  });
  test('every check of the computer, with what to do', () => {
    const rust =
      source('../crates/alcove-host/src/checks.rs') + source('../crates/alcove-host/src/secrets.rs');
    const names = [...rust.matchAll(/check\("(\w+)", "|id: "(\w+)"\.to_owned/g)].map(
      (found) => found[1] ?? found[2],
    );
    expect(names).toContain('secrets');
    for (const name of names) {
      expect(catalogue[`check.${name}`], name).toBeTruthy();
      expect(catalogue[`check.${name}.ok`], name).toBeTruthy();
      const bad = ['warn', 'fail'].filter((status) => catalogue[`check.${name}.${status}`]);
      expect(bad, name).not.toEqual([]);
      for (const status of bad) expect(catalogue[`check.${name}.${status}.hint`], name).toBeTruthy();
    }
  });
  test('every condition, with what to do', () => {
    const rust = ['alcove-guest/src', 'alcove-api/src']
      .flatMap((crate) => {
        const folder = join(root, '../crates', crate);
        return readdirSync(folder, { recursive: true, withFileTypes: true });
      })
      .filter((entry) => entry.isFile() && entry.name.endsWith('.rs') && !entry.name.startsWith('tests'))
      .map((entry) => readFileSync(join(entry.parentPath, entry.name), 'utf8'))
      .join('');
    const found = [...rust.matchAll(/set_condition\(\s*"(\w+)"|const \w+: &str = "((?:[A-Z][a-z]+){2,})"/g)];
    const names = new Set(found.map((each) => each[1] ?? each[2] ?? ''));
    expect([...names]).toEqual(
      expect.arrayContaining(['KeysReadable', 'DiskHasItsSize', 'LastBootClean', 'DoorOpen']),
    );
    for (const name of names) {
      expect(Object.keys(zh), name).toContain(`condition.${name}`);
      expect(Object.keys(zh), name).toContain(`condition.${name}.False`);
      expect(catalogue[`condition.${name}.False.hint`], name).toBeTruthy();
    }
  });
  test('the machine has one name', () => {
    for (const [key, text] of Object.entries({ ...zh, ...catalogue })) {
      expect(text.replaceAll('云主机', ''), key).not.toMatch(/机器|虚拟机|主机|映像/);
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
