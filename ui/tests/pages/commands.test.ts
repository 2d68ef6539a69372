import type { Page } from 'playwright-core';
import { describe, expect, test } from 'vitest';
import type { Scenario } from '../fake/server.mjs';
import { accessibilityProblems, visit, withBrowser } from './support';

withBrowser();

async function offered(page: Page): Promise<string[]> {
  await page.keyboard.press('Control+k');
  await page.getByRole('option').first().waitFor();
  return page.getByRole('option').locator('.title').allTextContents();
}
/** Chooses a command by typing what it is called. */
async function command(page: Page, words: string) {
  await page.keyboard.press('Control+k');
  await page.keyboard.type(words);
  await page.getByRole('option', { selected: true }).waitFor();
  await page.keyboard.press('Enter');
}
const called = (fake: { requests: { method?: string | undefined; path: string }[] }) =>
  fake.requests.filter(({ method }) => method !== 'GET').map(({ method, path }) => `${method} ${path}`);

describe('the command palette has every operation that can be done now', () => {
  const ALWAYS = [
    'Delete the machine',
    'Logs: Kubernetes',
    'Logs: QEMU',
    'Copy this page’s address',
    'Check this computer',
    'Theme: Dark',
    'Language: 中文',
    'When Alcove starts: Leave it as it is',
    'When Alcove quits: Shut the machine down',
    'Quit Alcove',
  ];
  const OFF = ['Start', 'Start a rescue shell'];
  test.each([
    [
      'running',
      [
        'Open web desktop',
        'Suspend',
        'Restart the machine',
        'Shut the machine down',
        'Turn the machine off at once',
      ],
    ],
    ['suspended', ['Resume', 'Make a snapshot', 'Restore the snapshot “before-upgrade”']],
    ['stopped', [...OFF, 'Make a snapshot', 'Delete the snapshot “before-upgrade”']],
    ['failed', OFF],
    ['stuck', [...OFF, 'Restart the machine', 'Shut the machine down', 'Turn the machine off at once']],
    ['slowstop', ['Turn the machine off at once']],
    ['booting', ['Shut the machine down', 'Restart the machine', 'Turn the machine off at once']],
  ] as [Scenario, string[]][])('%s', async (scenario, own) => {
    await visit(scenario, { hash: '#/home' }, async (page) => {
      const first = await offered(page);
      for (const name of [...ALWAYS, ...own.filter((words) => !words.includes('snapshot “'))]) {
        expect(first).toContain(name);
      }
      // Snapshots are read when the palette opens.
      for (const name of own.filter((words) => words.includes('snapshot “'))) {
        await page.getByRole('option', { name }).waitFor();
      }
      expect(await accessibilityProblems(page)).toEqual([]);
      await page.keyboard.press('Escape');
      await page.getByRole('option').first().waitFor({ state: 'detached' });
    });
  });
});

describe('from the palette', () => {
  test('a snapshot is made, and restored after a question', async () => {
    await visit('suspended', { hash: '#/cluster' }, async (page, fake) => {
      await command(page, 'make a snap');
      await page.getByRole('dialog').getByRole('button', { name: 'Make a snapshot' }).click();
      await command(page, 'restore before-upgrade');
      await page.getByRole('dialog').getByText('Everything newer than that is lost').waitFor();
      await page.getByRole('dialog').getByRole('button', { name: 'Restore' }).click();
      await expect
        .poll(() => called(fake))
        .toEqual(['POST /machine/snapshots', 'POST /machine/snapshots/before-upgrade/restore']);
    });
  });
  test('what happens at start and at quitting is changed', async () => {
    await visit('running', { hash: '#/home' }, async (page, fake) => {
      await command(page, 'when alcove quits');
      await page.getByText('Saved').waitFor();
      expect(fake.state.settings).toMatchObject({ suspend_on_quit: false });
      expect(await offered(page)).toContain('When Alcove quits: Suspend the machine');
    });
  });
  test('Alcove is quit, after saying what becomes of the machine', async () => {
    await visit('running', { hash: '#/home' }, async (page, fake) => {
      await command(page, 'quit alcove');
      await page.getByRole('dialog').getByText('The machine is suspended first').waitFor();
      await page.getByRole('dialog').getByRole('button', { name: 'Quit Alcove' }).click();
      await expect.poll(() => called(fake)).toEqual(['POST /quit']);
      await page.getByRole('heading', { name: 'Alcove has quit' }).waitFor();
      await page.getByText('open Alcove from your applications').waitFor();
      expect(await page.getByText('doesn’t answer').count()).toBe(0);
      // Started again, it is there again, and when it is lost then, that is said.
      fake.state.down = false;
      await page.getByRole('heading', { level: 1, name: 'Running' }).waitFor();
      fake.state.down = true;
      fake.cutStreams();
      await page.getByRole('heading', { name: 'Alcove doesn’t answer' }).waitFor();
    });
  });
});
