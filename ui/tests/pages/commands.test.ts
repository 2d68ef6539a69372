import { readFileSync } from 'node:fs';
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
      await page.getByText('The machine is suspended: what ran in it').waitFor();
      await page.getByText('open Alcove from your applications').waitFor();
      expect(await page.getByText('doesn’t answer').count()).toBe(0);
      // Started again, it is there again, and when it is lost then, that is said.
      fake.state.down = false;
      await page.getByRole('heading', { level: 1, name: 'Suspended' }).waitFor();
      fake.state.down = true;
      fake.cutStreams();
      await page.getByRole('heading', { name: 'Alcove doesn’t answer' }).waitFor();
    });
  });
});

describe('every operation of the API that changes something', () => {
  /** What the palette has no command for, and why. */
  const ELSEWHERE: Record<string, string> = {
    'POST /machine': 'the first run makes the machine, and has no palette',
  };
  /** A command, and the button that its question or its page is answered with. */
  const WAYS: [Scenario, string, string?][] = [
    ['running', 'open web desktop'],
    ['running', 'suspend'],
    ['suspended', 'resume'],
    ['running', 'restart the machine', 'Restart'],
    ['running', 'shut the machine down', 'Shut down'],
    ['running', 'turn the machine off', 'Turn off at once'],
    ['running', 'delete the machine', 'Delete everything'],
    ['suspended', 'make a snapshot', 'Make a snapshot'],
    ['suspended', 'restore the snapshot', 'Restore'],
    ['suspended', 'delete the snapshot', 'Delete'],
    ['running', 'theme: dark'],
    ['running', 'bring another image', 'Bring it'],
    ['many', 'delete image', 'Delete'],
    ['running', 'quit alcove', 'Quit Alcove'],
  ];

  test('is reached from the palette', { timeout: 240_000 }, async () => {
    const document = readFileSync(new URL('../../../crates/alcoved/src/openapi.rs', import.meta.url), 'utf8');
    const described = [...document.matchAll(/add\(\s*"(post|patch|delete|put)",\s*"([^"]+)"/g)].map(
      ([, method = '', path = '']) => `${method.toUpperCase()} ${path}`,
    );
    expect(described.length).toBeGreaterThan(10);
    const reached = new Set<string>();
    const note = (fake: Parameters<typeof called>[0]) => {
      for (const call of called(fake)) {
        const fits = (operation: string) =>
          new RegExp(`^${operation.replace(/\{\w+\}/g, '[^/]+')}$`).test(call);
        reached.add(described.find(fits) ?? call);
      }
    };
    for (const [scenario, words, answer] of WAYS) {
      await visit(scenario, { hash: '#/home' }, async (page, fake) => {
        await page.keyboard.press('Control+k');
        await page.getByRole('option').first().waitFor();
        await page.keyboard.type(words);
        // What was read for the palette has arrived.
        await page
          .getByRole('option', { name: new RegExp(words, 'i') })
          .first()
          .waitFor();
        await page.keyboard.press('Enter');
        if (answer) {
          const word = page.getByLabel('Type default to confirm');
          const button = page
            .getByRole(answer === 'Bring it' ? 'main' : 'dialog')
            .getByRole('button', { name: answer, exact: true });
          await button.waitFor();
          if (await word.count()) await word.fill('default');
          const source = page.getByRole('textbox', { name: 'Where it comes from' });
          if (await source.count()) await source.fill('/media/ada/STICK/image');
          await button.click();
        }
        await expect.poll(() => called(fake).length, { message: words }).toBeGreaterThan(0);
        note(fake);
      });
    }
    // A start can be cancelled while it goes on.
    await visit('stopped', { hash: '#/home', bootSpeed: 1 }, async (page, fake) => {
      await command(page, 'start');
      await page.getByRole('heading', { level: 1, name: 'Starting' }).waitFor();
      await command(page, 'cancel: start');
      await expect.poll(() => called(fake).length).toBe(2);
      note(fake);
    });
    expect([...reached, ...Object.keys(ELSEWHERE)].sort()).toEqual(described.sort());
  });
});
