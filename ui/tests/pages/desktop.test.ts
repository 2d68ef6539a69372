import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { accessibilityProblems, visit, withBrowser } from './support';

withBrowser();

describe('the web desktop', () => {
  test('greets by name and tells where it comes from', async () => {
    await visit('running', { app: 'desktop' }, async (page) => {
      await page.getByRole('heading', { name: /, Ada$/ }).waitFor();
      await page.getByRole('button', { name: 'About this cloud' }).click();
      const about = page.getByRole('dialog', { name: 'About this cloud' });
      await about.getByText('gateway-6c9f7d5b84-x2k8p').waitFor();
      await about.getByText('walnut-alcove').waitFor();
      await about.getByText('v1.34.1').waitFor();
    });
  });
  test('windows move and snap by pointer and by keys, and Esc closes them', async () => {
    await visit('running', { app: 'desktop' }, async (page) => {
      await page.getByRole('button', { name: 'About this cloud' }).click();
      const about = page.getByRole('dialog', { name: 'About this cloud' });
      const box = () =>
        about.evaluate((element: HTMLElement) => ({ left: element.offsetLeft, width: element.offsetWidth }));
      const before = await box();
      await page.keyboard.press('ArrowRight');
      await expect.poll(box).toEqual({ left: before.left + 24, width: before.width });
      await page.keyboard.press('Alt+ArrowLeft');
      await expect.poll(box).toEqual({ left: 0, width: 640 });
      await page.mouse.move(100, 20);
      await page.mouse.down();
      await page.mouse.move(600, 200, { steps: 4 });
      await page.mouse.move(1279, 300, { steps: 4 });
      await page.mouse.up();
      await expect.poll(box).toEqual({ left: 640, width: 640 });
      await page.keyboard.press('Escape');
      await about.waitFor({ state: 'detached' });
      // The focus goes back to what opened it.
      await page.keyboard.press('Enter');
      await about.waitFor();
    });
  });
  test('not signed in, it says how to get in', async () => {
    await visit('refused', { app: 'desktop' }, async (page) => {
      await page.getByRole('heading', { name: 'You aren’t signed in here' }).waitFor();
    });
  });
  test('out of reach, it tries again by itself', async () => {
    await visit('dead', { app: 'desktop' }, async (page, fake) => {
      await page.getByText(/Trying again in \d+ second/).waitFor();
      fake.state.down = false;
      await page.getByRole('heading', { name: /, Ada$/ }).waitFor();
    });
  });
  test('gone after it was there, it says so, keeps the desktop, and comes back by itself', async () => {
    await visit('running', { app: 'desktop' }, async (page, fake) => {
      await page.getByRole('heading', { name: /, Ada$/ }).waitFor();
      fake.state.down = true;
      await page.evaluate(() => dispatchEvent(new Event('offline')));
      await page.getByRole('alert').getByText('Your cloud doesn’t answer').waitFor();
      await page.getByText('from before your cloud went out of reach').waitFor();
      expect(await page.getByRole('heading', { name: /, Ada$/ }).isVisible()).toBe(true);
      fake.state.down = false;
      await page.getByText('Your cloud is up. This page comes from it.').waitFor();
      expect(await page.getByRole('alert').count()).toBe(0);
    });
  });
  test('signed out meanwhile, it shows nothing of the desktop any more', async () => {
    await visit('running', { app: 'desktop' }, async (page, fake) => {
      await page.getByRole('heading', { name: /, Ada$/ }).waitFor();
      fake.state.refuse = true;
      await page.evaluate(() => dispatchEvent(new Event('online')));
      await page.getByRole('heading', { name: 'You aren’t signed in here' }).waitFor();
    });
  });
  test.each([
    ['en', false],
    ['zh', true],
  ] as const)('in %s, families of Chinese are asked for: %s', async (language, chinese) => {
    for (const app of ['desktop', 'native'] as const) {
      await visit('running', { app, language }, async (page) => {
        await page.getByRole('heading').first().waitFor();
        const family = await page.evaluate(() => getComputedStyle(document.body).fontFamily);
        expect(/CJK|PingFang|YaHei/.test(family), family).toBe(chinese);
        expect(family).toMatch(/^system-ui/);
      });
    }
  });
  test('has the language and the theme that the person chose, and follows when they change', async () => {
    await visit('running', { app: 'desktop' }, async (page, fake) => {
      const theme = () => page.evaluate(() => document.documentElement.dataset['theme']);
      await page.getByRole('heading', { name: /, Ada$/ }).waitFor();
      fake.state.meLook = { language: 'zh', theme: 'dark' };
      await page.evaluate(() => dispatchEvent(new Event('online')));
      await page.getByRole('heading', { name: /，Ada$/ }).waitFor();
      expect(await theme()).toBe('dark');
      expect(await page.locator('html').getAttribute('lang')).toBe('zh-CN');
      const wall = page.locator('.wallpaper .wall');
      expect(await wall.evaluate((one) => getComputedStyle(one).fill)).toBe('rgb(18, 16, 17)');
      expect(await accessibilityProblems(page)).toEqual([]);
      fake.state.meLook = { language: null, theme: 'system' };
      await page.evaluate(() => dispatchEvent(new Event('online')));
      await page.getByRole('heading', { name: /, Ada$/ }).waitFor();
      expect(await theme()).toBeUndefined();
    });
  });
  test('speaks Chinese to who asks for it', async () => {
    await visit('running', { app: 'desktop', language: 'zh' }, async (page) => {
      await page.getByRole('heading', { name: /，Ada$/ }).waitFor();
    });
  });
});

describe('what is shipped', () => {
  const dist = (app: string) => fileURLToPath(new URL(`../../apps/${app}/dist`, import.meta.url));
  const files = (app: string) =>
    readdirSync(dist(app), { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => join(entry.parentPath, entry.name));
  test.each([
    ['native', 600],
    ['desktop', 120],
  ])('%s stays under %d KB compressed', (app, budget) => {
    const total = files(app).reduce((sum, file) => sum + gzipSync(readFileSync(file)).length, 0);
    expect(total / 1024).toBeLessThan(budget);
  });
  test.each(['native', 'desktop'])('%s can be served from anywhere and needs nothing inline', (app) => {
    const page = readFileSync(join(dist(app), 'index.html'), 'utf8');
    expect(page).not.toMatch(/(src|href)="\//);
    expect(page).not.toMatch(/<script(?![^>]*\ssrc=)/);
    expect(page).not.toContain('<style');
  });
});
