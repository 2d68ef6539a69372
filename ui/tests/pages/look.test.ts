import type { Page } from 'playwright-core';
import { describe, expect, test } from 'vitest';
import type { Scenario } from '../fake/server.mjs';
import { accessibilityProblems, overflowing, settled, visit, withBrowser } from './support';

withBrowser();

const PAGES: [string, Scenario, string, ((page: Page) => Promise<void>)?][] = [
  ['wizard', 'absent', ''],
  ['wizard, host can’t', 'blocked', ''],
  ['wizard without an image', 'noimage', ''],
  ['boot', 'booting', '#/home'],
  ['slow boot', 'slow', '#/home'],
  ['failing boot', 'bootfail', '#/home'],
  ['failed', 'failed', '#/home'],
  ['failed while it is on', 'stuck', '#/home'],
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
  ['event', 'trouble', '#/cluster/events/default/Pod%2Fphotos-0/BackOff'],
  ['event that is gone', 'trouble', '#/cluster/events/default/Pod%2Fno/No'],
  ['node that is gone', 'running', '#/cluster/nodes/no'],
  ['suspending', 'suspending', '#/home'],
  ['stopping', 'stopping', '#/home'],
  ['stopping for long', 'slowstop', '#/home'],
  ['suspending for long', 'slowsuspend', '#/home'],
  ['stopped', 'stopped', '#/home'],
  ['cluster at rest', 'stopped', '#/cluster'],
  ['activity', 'running', '#/activity'],
  ['operation', 'running', '#/activity/operations/14'],
  ['no operations', 'running', '#/activity/operations?q=nothing-like-this'],
  ['operations', 'running', '#/activity/operations'],
  ['settings', 'running', '#/settings'],
  ['size', 'running', '#/settings/machine'],
  ['about', 'running', '#/settings/about'],
  ['refused', 'refused', ''],
  ['unreachable', 'dead', ''],
  ['long names', 'long', '#/home'],
  ['charts', 'running', '#/home', (page) => page.locator('figure canvas').first().waitFor()],
  [
    'a choice of columns',
    'long',
    '#/cluster/pods',
    (page) => page.locator('.chooser button').first().click(),
  ],
  ['a question', 'running', '#/settings/machine', (page) => page.locator('button.danger').click()],
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
