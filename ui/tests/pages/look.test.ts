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

describe.each(['light', 'dark', 'contrast'] as const)('%s', (theme) => {
  test.each(PAGES)('%s has no accessibility problem', async (_, scenario, hash) => {
    await visit(scenario, { hash, theme }, async (page) => {
      await settled(page);
      expect(await accessibilityProblems(page)).toEqual([]);
    });
  });
});

describe.each(['en', 'zh'] as const)('the smallest window, %s', (language) => {
  test.each(PAGES)('%s fits', async (_, scenario, hash) => {
    await visit(scenario, { hash, language, width: 720, height: 520 }, async (page) => {
      await settled(page);
      expect(await overflowing(page)).toEqual([]);
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
