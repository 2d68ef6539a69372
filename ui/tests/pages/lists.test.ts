import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { accessibilityProblems, settled, visit, withBrowser } from './support';

withBrowser();

const clipboard = () => navigator.clipboard.readText();

describe('columns', () => {
  test('are chosen by keyboard, remembered, and given back to the width', async () => {
    await visit('trouble', { hash: '#/cluster/pods' }, async (page) => {
      await settled(page);
      const heads = () => page.locator('[role=columnheader]:not(.chooser)').allTextContents();
      expect((await heads()).join()).toContain('Namespace');
      expect((await heads()).join()).not.toContain('Owner');
      await page.getByRole('button', { name: 'Columns' }).focus();
      await page.keyboard.press('Enter');
      const item = (name: string) => page.getByRole('menuitemcheckbox', { name, exact: true });
      await item('Namespace').waitFor();
      expect(await item('Name').isDisabled()).toBe(true);
      expect(await accessibilityProblems(page)).toEqual([]);
      await item('Namespace').focus();
      await page.keyboard.press('Enter');
      await expect.poll(async () => item('Namespace').getAttribute('aria-checked')).toBe('false');
      await item('Owner').focus();
      await page.keyboard.press('Space');
      await expect.poll(async () => item('Owner').getAttribute('aria-checked')).toBe('true');
      await page.keyboard.press('Escape');
      await item('Owner').waitFor({ state: 'hidden' });

      await page.reload();
      await page.getByText('photos-0').waitFor();
      expect((await heads()).join()).not.toContain('Namespace');
      expect((await heads()).join()).toContain('Owner');
      await page.getByRole('button', { name: 'Columns' }).click();
      await page.getByRole('menuitem', { name: 'As the width allows' }).click();
      await expect.poll(async () => (await heads()).join()).toContain('Namespace');
      expect((await heads()).join()).not.toContain('Owner');
    });
  });
  test('chosen beyond the width are scrolled to, under a head that stays', async () => {
    await visit('many', { hash: '#/cluster/pods', width: 720, height: 520 }, async (page) => {
      await page.getByText('10,000 pods', { exact: true }).waitFor();
      await page.getByRole('button', { name: 'Columns' }).click();
      for (const name of ['Namespace', 'Node', 'Owner', 'Message', 'Address', 'Restarts']) {
        const item = page.getByRole('menuitemcheckbox', { name, exact: true });
        if ((await item.getAttribute('aria-checked')) === 'false') await item.click();
      }
      await page.keyboard.press('Escape');
      const grid = page.getByRole('grid');
      expect(await grid.evaluate((box) => box.scrollWidth > box.clientWidth)).toBe(true);
      await grid.evaluate((box) => (box.scrollTop = 40_000));
      await page.waitForFunction(() => {
        const rows = [...document.querySelectorAll('[role=row][aria-rowindex]')];
        return rows.some((row) => Number(row.getAttribute('aria-rowindex')) > 1000);
      });
      const [top, head] = await grid.evaluate((box) => [
        box.getBoundingClientRect().top,
        box.querySelector('[role=columnheader]')?.getBoundingClientRect().top,
      ]);
      expect(head).toBe(top);
    });
  });
});

describe('a cell', () => {
  test('is reached with the arrows and copied as text', async () => {
    await visit('trouble', { hash: '#/cluster/pods?q=photos' }, async (page) => {
      await page.getByText('1 of 8 pods').waitFor();
      await page.getByRole('row').nth(1).focus();
      await page.keyboard.press('Control+c');
      await page.getByText('Copied').first().waitFor();
      expect(await page.evaluate(clipboard)).toBe('photos-0');
      for (let at = 0; at < 3; at += 1) await page.keyboard.press('ArrowRight');
      await page.waitForFunction(() => document.activeElement?.textContent?.includes('CrashLoopBackOff'));
      await page.keyboard.press('Control+c');
      await expect.poll(() => page.evaluate(clipboard)).toBe('CrashLoopBackOff');
      for (let at = 0; at < 3; at += 1) await page.keyboard.press('ArrowLeft');
      await page.waitForFunction(() => document.activeElement?.getAttribute('role') === 'row');
    });
  });
});

describe('a detail', () => {
  test('opens beside the list, and its address can be copied and opened again', async () => {
    await visit('trouble', { hash: '#/cluster/pods?ns=default' }, async (page, _, context) => {
      await page.getByText('photos-0').click();
      const detail = page.getByRole('region', { name: 'photos-0' });
      await detail.waitFor();
      expect(await page.getByRole('grid').isVisible()).toBe(true);
      await detail.getByRole('button', { name: 'Copy this page’s address' }).click();
      await page.getByText('The address was copied').waitFor();
      const address = await page.evaluate(clipboard);
      expect(address).toBe(page.url());
      const again = await context.newPage();
      await again.goto(address);
      await again.getByRole('region', { name: 'photos-0' }).getByText('StatefulSet/photos').waitFor();
      await again.getByText('3 of 8 pods').waitFor();
    });
  });
  test('stays when Esc closes what floats over it, and goes with the next Esc', async () => {
    await visit('trouble', { hash: '#/cluster/pods/default/photos-0' }, async (page) => {
      const detail = page.getByRole('region', { name: 'photos-0' });
      await detail.waitFor();
      await page.getByRole('button', { name: 'Columns' }).click();
      await page.getByRole('menuitemcheckbox', { name: 'Status' }).waitFor();
      await page.keyboard.press('Escape');
      await page.getByRole('menuitemcheckbox', { name: 'Status' }).waitFor({ state: 'hidden' });
      expect(await detail.isVisible()).toBe(true);
      // The menu has not taken the focus yet where Esc comes at once.
      await page.getByRole('button', { name: 'Columns' }).click();
      await page.waitForFunction(() => document.activeElement?.getAttribute('role') === 'menuitemcheckbox');
      await page.getByRole('button', { name: 'Columns' }).focus();
      await page.keyboard.press('Escape');
      await page.getByRole('menuitemcheckbox', { name: 'Status' }).waitFor({ state: 'hidden' });
      expect(await detail.isVisible()).toBe(true);
      await page.keyboard.press('Control+k');
      await page.getByRole('combobox', { name: 'Find a command or a page' }).waitFor();
      await page.keyboard.press('Escape');
      await page.getByRole('combobox', { name: 'Find a command or a page' }).waitFor({ state: 'detached' });
      expect(await detail.isVisible()).toBe(true);
      await page.getByRole('searchbox').fill('photos');
      await page.keyboard.press('Escape');
      expect(await page.getByRole('searchbox').inputValue()).toBe('');
      expect(await detail.isVisible()).toBe(true);
      await page.keyboard.press('Escape');
      await detail.waitFor({ state: 'detached' });
    });
  });
  test('of an event shows the whole message and leads to what it is about', async () => {
    await visit('trouble', { hash: '#/cluster/events' }, async (page) => {
      await page.getByRole('gridcell', { name: 'FailedScheduling' }).click();
      const detail = page.getByRole('region', { name: 'FailedScheduling' });
      await detail.getByText('no new claims to deallocate').waitFor();
      await detail.getByRole('link', { name: 'Show what it is about' }).click();
      await page.getByRole('region', { name: 'backup-29318-r7c2d' }).waitFor();
    });
  });
});

describe('events', () => {
  test('that no filter fits say so, and the whole list is one press away', async () => {
    await visit('trouble', { hash: '#/cluster/events?q=nothing-like-this&kind=Warning' }, async (page) => {
      await page.getByRole('heading', { name: 'No event fits the filter' }).waitFor();
      await page.getByRole('button', { name: 'Clear the filter' }).click();
      await page.getByRole('gridcell', { name: 'FailedScheduling' }).waitFor();
    });
    await visit('empty', { hash: '#/cluster/events' }, async (page) => {
      await page.getByRole('heading', { name: 'No events' }).waitFor();
      expect(await page.getByRole('button', { name: 'Clear the filter' }).count()).toBe(0);
    });
  });
});

describe('a pod’s log', () => {
  const hash = '#/cluster/pods/default/photos-0?tab=logs&container=thumbnails';
  test('pauses while new lines come, and goes on', async () => {
    await visit('trouble', { hash }, async (page, fake) => {
      await page.getByText('400 lines').waitFor();
      await page.getByRole('button', { name: 'Pause' }).click();
      fake.log('a line that came later');
      fake.log('and one more');
      await page.getByRole('button', { name: 'Go on · 2 new lines' }).waitFor();
      expect(await page.getByText('a line that came later').count()).toBe(0);
      await page.getByRole('button', { name: /^Go on/ }).click();
      await page.getByText('402 lines').waitFor();
      await page.getByText('and one more').waitFor();
    });
  });
  test('is saved as a file with what is shown', async () => {
    await visit('trouble', { hash: `${hash}&find=warning` }, async (page) => {
      await page.getByText('10 lines').waitFor();
      const [saved] = await Promise.all([
        page.waitForEvent('download'),
        page.getByRole('button', { name: 'Save as a file' }).click(),
      ]);
      expect(saved.suggestedFilename()).toBe('photos-0-thumbnails.log');
      const text = readFileSync(await saved.path(), 'utf8');
      expect(text.trim().split('\n')).toHaveLength(10);
      expect(text).not.toContain('\u001b');
    });
  });
  test('of the container before its last restart is read, and wraps', async () => {
    await visit('trouble', { hash }, async (page, fake) => {
      fake.state.restarted = true;
      await page.getByText('400 lines').waitFor();
      await page.getByRole('checkbox', { name: 'Before the last restart' }).check();
      await page.getByText('thumbnails before[212]').first().waitFor();
      await page.getByRole('button', { name: 'Wrap lines' }).click();
      const log = page.getByRole('log');
      expect(await log.evaluate((box) => box.scrollWidth <= box.clientWidth)).toBe(true);
    });
  });
});

describe('what was read before', () => {
  test('stays while it can’t be read again, and says so', async () => {
    await visit('trouble', { hash: '#/cluster/pods' }, async (page, fake) => {
      await page.getByText('photos-0').waitFor();
      fake.state.podsFail = true;
      await page.getByText('This is from before: it can’t be read now').waitFor();
      await page.getByText('photos-0').waitFor();
      fake.state.podsFail = false;
      await page.getByRole('button', { name: 'Try again' }).click();
      await page.getByText('This is from before').waitFor({ state: 'detached' });
    });
  });
  test('is there at once when one comes back, and is not kept over a rest of the machine', async () => {
    await visit('trouble', { hash: '#/cluster/pods' }, async (page, fake) => {
      await page.getByText('photos-0').waitFor();
      await page.getByRole('link', { name: 'Settings' }).click();
      await page.getByRole('heading', { name: 'Settings' }).waitFor();
      fake.state.podsFail = true;
      await page.goto(`${fake.url}/#/cluster/pods`);
      await page.getByText('photos-0').waitFor();
      fake.setPhase('suspended');
      await page.getByRole('heading', { name: 'The cluster rests' }).waitFor();
      fake.setPhase('running');
      await page.getByRole('heading', { name: 'Kubernetes does not answer' }).waitFor();
      expect(await page.getByText('photos-0').count()).toBe(0);
    });
  });
});

describe('the operation log', () => {
  test('says what was done, and is filtered by what, result and who', async () => {
    await visit('running', { hash: '#/activity/operations' }, async (page) => {
      await page.getByText('14 lines').waitFor();
      await page.getByRole('combobox', { name: 'Result' }).selectOption('failed');
      await page.getByText('2 of 14 lines').waitFor();
      await page.getByText('Could not make a snapshot').waitFor();
      await page.getByRole('combobox', { name: 'What' }).selectOption('machine.start');
      await page.getByText('1 of 14 lines').waitFor();
      await page.reload();
      await page.getByText('1 of 14 lines').waitFor();
      await page.getByText('Could not start the machine').click();
      const detail = page.getByRole('region', { name: 'Could not start the machine' });
      await detail.getByText('No space is left on the disk of this computer').waitFor();
      await page.keyboard.press('Escape');
      await detail.waitFor({ state: 'detached' });
      await page.getByRole('combobox', { name: 'Who' }).selectOption('supervisor');
      await page.getByRole('heading', { name: 'No operation fits the filter' }).waitFor();
      await page.getByRole('button', { name: 'Clear the filter' }).click();
      await page.getByText('14 lines').waitFor();
    });
  });
  test('speaks Chinese, without words of the code', async () => {
    await visit('running', { hash: '#/activity/operations', language: 'zh' }, async (page) => {
      await page.getByText('未能制作快照').waitFor();
      expect(await page.getByRole('grid').textContent()).not.toMatch(/machine\.|snapshot\.|settings\./);
    });
  });
});
