import { describe, expect, test } from 'vitest';
import { accessibilityProblems, overflowing, settled, visit, withBrowser } from './support';

withBrowser();

const posts = (fake: { requests: { method?: string | undefined; path: string }[] }) =>
  fake.requests.filter(({ method }) => method !== 'GET').map(({ method, path }) => `${method} ${path}`);

describe('the first run without an image', () => {
  test('brings the package’s own by keyboard alone, and goes on meanwhile', async () => {
    await visit('noimage', { bootSpeed: 12 }, async (page, fake) => {
      fake.state.fetch = 'stay';
      await page.getByRole('button', { name: 'Continue' }).focus();
      await page.keyboard.press('Enter');
      await page.getByRole('heading', { name: 'The machine’s system' }).waitFor();
      const source = page.getByRole('textbox', { name: 'Where it comes from' });
      expect(await source.inputValue()).toBe('https://images.example/alcove/4be1c93a77d0/');
      await page.getByText('287 MB come from there').waitFor();
      expect(await page.getByRole('button', { name: 'Choose a folder' }).count()).toBe(0);
      await source.focus();
      await page.keyboard.press('Enter');
      await page.getByText('144 MB of 287 MB · 12 MB a second · 12 s left').waitFor();
      expect(fake.state.fetched).toEqual({
        source: 'https://images.example/alcove/4be1c93a77d0/',
        sha256: null,
      });

      // The sizes are chosen while it comes; the machine is not made before it is here.
      for (const question of ['How much may it use?', 'Who is it for?', 'Ready to make it']) {
        await page.getByRole('button', { name: 'Continue' }).focus();
        await page.keyboard.press('Enter');
        await page.getByRole('heading', { name: question }).waitFor();
      }
      const create = page.getByRole('button', { name: 'Create and start' });
      expect(await create.isDisabled()).toBe(true);
      await page.getByRole('progressbar', { name: 'Bringing the image' }).waitFor();
      fake.endFetch();
      await page.waitForFunction(
        () => !document.querySelector<HTMLButtonElement>('button[type=submit]')?.disabled,
      );
      await create.click();
      await page.getByRole('heading', { name: 'Starting' }).waitFor();
      expect(posts(fake)).toEqual([
        'POST /images/fetch',
        'PATCH /settings',
        'POST /machine',
        'POST /machine/start',
      ]);
    });
  });

  test('without a package’s source asks for one, and takes a checksum', async () => {
    await visit('nosource', {}, async (page, fake) => {
      await page.getByRole('button', { name: 'Continue' }).click();
      await page.getByRole('textbox', { name: 'Where it comes from' }).fill('http://box.local/alcove/');
      await page.getByText('This address isn’t encrypted').waitFor();
      await page.getByRole('textbox', { name: /Checksum/ }).fill('e'.repeat(64));
      expect(await page.getByText('This address isn’t encrypted').count()).toBe(0);
      await page.getByRole('button', { name: 'Bring it' }).click();
      await page.getByText('The image is here').waitFor();
      await page.getByText('Image 4be1c93a77d0, 287 MB.').waitFor();
      expect(fake.state.fetched).toEqual({ source: 'http://box.local/alcove/', sha256: 'e'.repeat(64) });
      await page.getByRole('button', { name: 'Continue' }).click();
      await page.getByRole('heading', { name: 'How much may it use?' }).waitFor();
    });
  });

  test('is cancelled, fails with what to do, and goes on where it stopped', async () => {
    await visit('noimage', { language: 'zh' }, async (page, fake) => {
      fake.state.fetch = 'stay';
      await page.getByRole('button', { name: '继续' }).click();
      await page.getByRole('button', { name: '开始获取' }).click();
      await page.getByRole('button', { name: '取消' }).click();
      fake.state.fetch = 'fail';
      await page.getByRole('button', { name: '开始获取' }).click();
      await page.getByText('镜像来源没有响应').waitFor();
      await page.getByText('然后再次获取：会从中断处继续').waitFor();
      const original = page.getByText('Ask again: it goes on where it stopped.');
      expect(await original.isVisible()).toBe(false);
      await page.getByText('英文原文').click();
      await original.waitFor();
      await page.getByText('共 287 MB，已有 144 MB，将从中断处继续。').waitFor();
      fake.state.fetch = 'succeed';
      await page.getByRole('button', { name: '开始获取' }).click();
      await page.getByText('镜像已就绪').waitFor();
    });
  });

  test('is accessible in every state and theme, and fits the smallest window', async () => {
    await visit('nosource', { width: 720, height: 520 }, async (page, fake) => {
      fake.state.fetch = 'stay';
      const check = async () => {
        for (const theme of ['light', 'dark', 'contrast']) {
          await page.evaluate((name) => (document.documentElement.dataset['theme'] = name), theme);
          expect(await accessibilityProblems(page)).toEqual([]);
        }
        expect(await overflowing(page)).toEqual([]);
      };
      await page.getByRole('button', { name: 'Continue' }).click();
      await page.getByRole('textbox', { name: 'Where it comes from' }).fill('/media/ada/STICK/image');
      await check();
      await page.getByRole('button', { name: 'Bring it' }).click();
      await page.getByRole('progressbar', { name: 'Bringing the image' }).waitFor();
      await check();
      fake.state.fetch = 'fail';
      fake.endFetch();
      await page.getByText('broke off half-way').waitFor();
      await check();
    });
  });

  test('is not asked where there is one', async () => {
    await visit('absent', {}, async (page) => {
      await page.getByRole('button', { name: 'Continue' }).click();
      await page.getByRole('heading', { name: 'How much may it use?' }).waitFor();
      expect(await page.getByRole('listitem').filter({ hasText: 'Image' }).count()).toBe(0);
    });
  });
});

describe('about the image', () => {
  test('says what it holds, with its packages behind a filter', async () => {
    await visit('running', { hash: '#/settings/about' }, async (page) => {
      await settled(page);
      const card = page.locator('section', {
        has: page.getByRole('heading', { name: 'The machine’s image' }),
      });
      await card.getByText('4be1c93a77d0', { exact: true }).first().waitFor();
      await card.getByText('Linux 6.12.48+deb13-amd64').waitFor();
      await card.getByText('root.erofs 271 MB').waitFor();
      expect(await card.getByText('lib-net-4', { exact: true }).isVisible()).toBe(false);
      await card.getByText('148 Debian packages').first().click();
      await card.getByText('lib-net-4', { exact: true }).waitFor();
      await card.getByRole('searchbox', { name: 'Filter packages' }).fill('BASH');
      expect(await card.locator('details li').count()).toBe(1);
      await card.getByRole('searchbox', { name: 'Filter packages' }).fill('nothing like it');
      await card.getByText('No package has this in its name.').waitFor();
    });
  });

  test('brings another one, with its progress; it fails with what to do, and is cancelled', async () => {
    await visit('running', { hash: '#/settings/about', width: 720, height: 520 }, async (page, fake) => {
      await settled(page);
      fake.state.fetch = 'fail';
      await page.getByRole('button', { name: 'Bring another image' }).click();
      await page.getByText('The present one stays, to go back to.').waitFor();
      const source = page.getByRole('textbox', { name: 'Where it comes from' });
      await source.fill('/media/ada/STICK/image');
      expect(await accessibilityProblems(page)).toEqual([]);
      await page.getByRole('button', { name: 'Bring it' }).click();
      await page.getByRole('progressbar', { name: 'Bringing the image' }).waitFor();
      expect(await page.getByRole('button', { name: 'Bring it' }).count()).toBe(0);
      await page.getByText('broke off half-way').waitFor();
      expect(await overflowing(page)).toEqual([]);

      fake.state.fetch = 'stay';
      await page.getByRole('button', { name: 'Bring it' }).click();
      await page.getByRole('main').getByRole('button', { name: 'Cancel' }).click();
      await page.getByRole('button', { name: 'Bring it' }).waitFor();

      fake.state.fetch = 'succeed';
      await page.getByRole('button', { name: 'Bring it' }).click();
      await page.getByText('The image is here').waitFor();
      await page.getByText('9c2f1ab03d5e', { exact: true }).waitFor();
      await page.getByRole('button', { name: 'Bring another image' }).waitFor();
      expect(posts(fake)).toContain('POST /images/fetch');
    });
  });

  test('deletes another one after asking', async () => {
    await visit('many', { hash: '#/settings/about' }, async (page, fake) => {
      await settled(page);
      await page.getByText('Failed its trial').waitFor();
      await page.getByRole('button', { name: 'Delete image 77d04be1c93a' }).click();
      await page.getByRole('dialog').getByRole('button', { name: 'Delete' }).click();
      await page.getByText('Failed its trial').waitFor({ state: 'detached' });
      expect(posts(fake)).toEqual(['DELETE /images/77d04be1c93a']);
    });
  });
});
