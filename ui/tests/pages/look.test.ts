import type { Page } from 'playwright-core';
import { describe, expect, test } from 'vitest';
import type { Scenario } from '../fake/server.mjs';
import { accessibilityProblems, overflowing, settled, visit, withBrowser } from './support';

withBrowser();

const PAGES: [string, Scenario, string][] = [
  ['wizard', 'absent', ''],
  ['wizard, host can’t', 'blocked', ''],
  ['boot', 'booting', '#/home'],
  ['slow boot', 'slow', '#/home'],
  ['failing boot', 'bootfail', '#/home'],
  ['failed', 'failed', '#/home'],
  ['home', 'running', '#/home'],
  ['home with troubles', 'trouble', '#/home'],
  ['suspended', 'suspended', '#/home'],
  ['snapshots', 'suspended', '#/home/snapshots'],
  ['shell', 'running', '#/home/shell'],
  ['console', 'running', '#/home/console'],
  ['logs', 'running', '#/home/logs?q=warning'],
  ['cluster', 'trouble', '#/cluster'],
  ['nodes', 'running', '#/cluster/nodes/walnut-alcove'],
  ['pods', 'long', '#/cluster/pods'],
  ['no pods', 'empty', '#/cluster/pods'],
  ['ten thousand pods', 'many', '#/cluster/pods'],
  ['pod', 'trouble', '#/cluster/pods/default/photos-0'],
  ['pod’s logs', 'trouble', '#/cluster/pods/default/photos-0?tab=logs'],
  ['events', 'trouble', '#/cluster/events'],
  ['activity', 'running', '#/activity'],
  ['operations', 'running', '#/activity/operations'],
  ['settings', 'running', '#/settings'],
  ['size', 'running', '#/settings/machine'],
  ['about', 'running', '#/settings/about'],
  ['refused', 'refused', ''],
  ['unreachable', 'dead', ''],
  ['long names', 'long', '#/home'],
];

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
  test.each(PAGES)('%s', async (_, scenario, hash) => {
    await visit(scenario, { hash }, async (page) => {
      await settled(page);
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

describe.each(['running', 'long', 'refused', 'dead'] as const)('web desktop, %s', (scenario) => {
  test.each(['light', 'dark', 'contrast'] as const)('%s', async (theme) => {
    await visit(scenario, { app: 'desktop', theme }, async (page) => {
      if (scenario === 'running') await page.getByRole('button', { name: 'About this cloud' }).click();
      expect(await accessibilityProblems(page)).toEqual([]);
      expect(await overflowing(page)).toEqual([]);
    });
  });
});
