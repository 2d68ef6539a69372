import type { Page } from 'playwright-core';
import { describe, expect, test } from 'vitest';
import { overflowing, settled, visit, withBrowser } from './support';
import { PAGES } from './pages';

withBrowser();

/** Sentences in Latin letters that are seen, beyond what is quoted, logged, a name or a command. */
const foreignSentences = (page: Page) =>
  page.evaluate(() => {
    const QUOTED = '[lang=en], [role=log], [role=grid], code, kbd, .xterm, dd, ol .note';
    // What the person wrote themselves.
    const OWN = ['All is well here'];
    const found: string[] = [];
    const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    for (let node = walk.nextNode(); node; node = walk.nextNode()) {
      const element = node.parentElement;
      if (!element?.checkVisibility() || element.closest(QUOTED)) continue;
      const text = (node.textContent ?? '').replace(/sudo [\w "$./-]+/g, '');
      if (OWN.includes(text.trim())) continue;
      if (/[A-Za-z][a-z’']*(?:[ ,]+[A-Za-z][a-z’']*){2,}/.test(text)) found.push(text.trim());
    }
    return found;
  });

describe('every page speaks Chinese, whatever is amiss', () => {
  test.each(PAGES)('%s', async (_, scenario, hash, prepare) => {
    await visit(scenario, { hash, language: 'zh' }, async (page, fake) => {
      fake.state.worse = true;
      await page.reload();
      await page.locator('h1, h2').first().waitFor();
      await settled(page);
      await prepare?.(page);
      expect(await foreignSentences(page)).toEqual([]);
      await page.setViewportSize({ width: 720, height: 520 });
      expect(await overflowing(page)).toEqual([]);
    });
  });
});

test('the wizard speaks Chinese to its end', async () => {
  await visit('absent', { language: 'zh' }, async (page) => {
    for (const _ of [1, 2, 3]) {
      expect(await foreignSentences(page)).toEqual([]);
      await page.getByRole('button', { name: '继续' }).click();
    }
    expect(await foreignSentences(page)).toEqual([]);
  });
});

test('what fails is told in Chinese, with the original within reach', async () => {
  await visit('suspended', { hash: '#/home/snapshots', language: 'zh' }, async (page, fake) => {
    fake.state.tasksFail = true;
    await page.getByRole('button', { name: '恢复: before-upgrade' }).click();
    await page.getByRole('dialog').getByRole('button', { name: '恢复' }).click();
    const message = page.getByRole('region', { name: '消息' });
    await message.getByText('磁盘空间不足').waitFor();
    await message.getByText('请释放一些磁盘空间，然后重试。').waitFor();
    expect(await foreignSentences(page)).toEqual([]);
    await message.getByText('英文原文').click();
    await message.getByText('Free 1.2 GB in the data folder and try again.').waitFor();
  });
});
