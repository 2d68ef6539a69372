import type { Page } from 'playwright-core';
import { describe, expect, test } from 'vitest';
import { PAGES } from './pages';
import { accessibilityProblems, overflowing, settled, visit, withBrowser } from './support';

withBrowser();

const THEMES = ['light', 'dark', 'contrast'];

/** What the accessibility engine finds in each theme. */
async function problemsInThemes(page: Page): Promise<string[]> {
  const found: string[] = [];
  for (const theme of THEMES) {
    await page.evaluate((name) => (document.documentElement.dataset['theme'] = name), theme);
    found.push(...(await accessibilityProblems(page)).map((problem) => `${theme}: ${problem}`));
  }
  return found;
}

describe('every page is accessible in every theme, and fits the smallest window', () => {
  test.each(PAGES)('%s', async (_, scenario, hash, prepare) => {
    await visit(scenario, { hash }, async (page) => {
      await settled(page);
      await prepare?.(page);
      expect(await problemsInThemes(page)).toEqual([]);
      await page.setViewportSize({ width: 720, height: 520 });
      expect(await overflowing(page)).toEqual([]);
    });
  });
});

describe('every page fits the smallest window in Chinese', () => {
  test.each(PAGES)('%s', async (_, scenario, hash) => {
    await visit(scenario, { hash, language: 'zh', width: 720, height: 520 }, async (page) => {
      await settled(page);
      expect(await overflowing(page)).toEqual([]);
      expect(await page.locator('html').getAttribute('lang')).toBe('zh-CN');
    });
  });
});

describe.each([360, 1280])('the web desktop at %d pixels', (width) => {
  test.each(['running', 'long', 'refused', 'dead'] as const)(
    '%s fits in both languages',
    async (scenario) => {
      for (const language of ['en', 'zh'] as const) {
        await visit(scenario, { app: 'desktop', language, width, height: 640 }, async (page) => {
          if (scenario === 'running') await page.getByRole('navigation').getByRole('button').click();
          expect(await overflowing(page)).toEqual([]);
        });
      }
    },
  );
});

describe.each(['running', 'long', 'refused', 'dead'] as const)('web desktop, %s', (scenario) => {
  test.each(['light', 'dark', 'contrast'] as const)('%s', async (theme) => {
    await visit(scenario, { app: 'desktop', theme }, async (page) => {
      if (scenario === 'running') await page.getByRole('button', { name: 'About this cloud' }).click();
      expect(await accessibilityProblems(page)).toEqual([]);
      expect(await overflowing(page)).toEqual([]);
    });
  });
});
