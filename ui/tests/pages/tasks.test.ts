import { describe, expect, test } from 'vitest';
import { accessibilityProblems, overflowing, visit, withBrowser } from './support';

withBrowser();

const paths = (fake: { requests: { method?: string | undefined; path: string }[] }) =>
  fake.requests.filter(({ method }) => method !== 'GET').map(({ method, path }) => `${method} ${path}`);

describe('a snapshot', () => {
  test('is made, restored and deleted: under way it stands in the list, and its end is said', async () => {
    await visit('suspended', { hash: '#/home/snapshots' }, async (page, fake) => {
      fake.state.holdTasks = true;
      const make = page.getByRole('button', { name: 'Make a snapshot' });
      await make.click();
      await page.getByRole('textbox', { name: 'Name' }).fill('no spaces');
      await page.getByText('Use letters, digits').waitFor();
      await page.keyboard.press('Escape');
      // What is asked has the focus, and what is typed takes the place of what is proposed.
      await page.keyboard.press('Enter');
      await page.getByRole('textbox', { name: 'Name' }).waitFor();
      await page.keyboard.type('calm');
      await page.keyboard.press('Enter');
      await page.getByRole('progressbar', { name: 'It is being made' }).waitFor();
      // Nothing else is begun meanwhile.
      expect(await make.isDisabled()).toBe(true);
      expect(await page.getByRole('button', { name: 'Restore: before-upgrade' }).isDisabled()).toBe(true);
      expect(await accessibilityProblems(page)).toEqual([]);
      expect(await page.getByText('was made').count()).toBe(0);
      fake.endTasks();
      await page.getByText('The snapshot “calm” was made').waitFor();

      // Where nothing is asked, the harmless answer has it.
      await page.getByRole('button', { name: 'Restore: calm' }).press('Enter');
      await page.getByRole('dialog').getByRole('button', { name: 'Restore' }).waitFor();
      await page.keyboard.press('Enter');
      await page.getByRole('dialog').waitFor({ state: 'detached' });
      await page.getByRole('button', { name: 'Restore: calm' }).click();
      await page.getByRole('dialog').getByRole('button', { name: 'Restore' }).click();
      await page.getByRole('progressbar', { name: 'The machine is being brought back to it' }).waitFor();
      fake.endTasks();
      await page.getByText('The machine is what it was in “calm”').waitFor();

      await page.getByRole('button', { name: 'More: calm' }).click();
      await page.getByRole('menuitem', { name: 'Delete' }).click();
      await page.getByRole('dialog').getByRole('button', { name: 'Delete' }).click();
      await page.getByRole('progressbar', { name: 'It is being deleted' }).waitFor();
      fake.endTasks();
      await page.getByText('The snapshot “calm” was deleted').waitFor();
      await page.getByText('calm', { exact: true }).waitFor({ state: 'detached' });
      expect(paths(fake)).toEqual([
        'POST /machine/snapshots',
        'POST /machine/snapshots/calm/restore',
        'DELETE /machine/snapshots/calm',
      ]);
    });
  });
  test('that fails says why and what to do, and is asked for again with what was typed', async () => {
    await visit('suspended', { hash: '#/home/snapshots', width: 720, height: 520 }, async (page, fake) => {
      fake.state.tasksFail = true;
      await page.getByRole('button', { name: 'Make a snapshot' }).click();
      await page.getByRole('textbox', { name: 'Name' }).fill('calm');
      await page.getByRole('textbox', { name: 'Note' }).fill('before the storm');
      await page.getByRole('dialog').getByRole('button', { name: 'Make a snapshot' }).click();
      const failed = page.getByRole('alert');
      await failed.getByText('The snapshot “calm” was not made').waitFor();
      await failed.getByText('No space is left on this computer’s disk').waitFor();
      await failed.getByText('Free 1.2 GB in the data folder and try again.').waitFor();
      expect(await accessibilityProblems(page)).toEqual([]);
      expect(await overflowing(page)).toEqual([]);
      fake.state.tasksFail = false;
      await failed.getByRole('button', { name: 'Try again' }).click();
      expect(await page.getByRole('textbox', { name: 'Note' }).inputValue()).toBe('before the storm');
      await page.getByRole('dialog').getByRole('button', { name: 'Make a snapshot' }).click();
      await page.getByText('The snapshot “calm” was made').waitFor();
      await failed.waitFor({ state: 'detached' });
      expect(fake.state.snapshots[0]).toMatchObject({ name: 'calm', note: 'before the storm' });
    });
  });
  test('that fails while another page is looked at says so there', async () => {
    await visit('suspended', { hash: '#/home/snapshots' }, async (page, fake) => {
      fake.state.tasksFail = true;
      fake.state.holdTasks = true;
      await page.getByRole('button', { name: 'Make a snapshot' }).click();
      await page.getByRole('dialog').getByRole('button', { name: 'Make a snapshot' }).click();
      await page.getByRole('progressbar', { name: 'It is being made' }).waitFor();
      await page.getByRole('link', { name: 'Activity' }).click();
      await page.getByRole('heading', { name: 'Activity' }).waitFor();
      fake.endTasks();
      await page.getByRole('region', { name: 'Messages' }).getByText('Free 1.2 GB').waitFor();
    });
  });
});

test('a suspend that fails says why, also away from the machine’s page', async () => {
  await visit('running', { hash: '#/cluster' }, async (page, fake) => {
    fake.state.tasksFail = true;
    await page.getByRole('navigation', { name: 'Main' }).getByRole('button', { name: 'Suspend' }).click();
    await page.getByRole('region', { name: 'Messages' }).getByText('Free 1.2 GB').waitFor();
  });
});

describe('the machine is deleted', () => {
  const ask = 'Delete the machine';
  test('and is busy until it is gone', async () => {
    await visit('stopped', { hash: '#/settings/machine' }, async (page, fake) => {
      fake.state.holdTasks = true;
      await page.getByRole('button', { name: ask }).click();
      await page.getByLabel('Type default to confirm').fill('default');
      await page.getByRole('dialog').getByRole('button', { name: 'Delete everything' }).click();
      await page.locator('button.danger[aria-busy=true]').waitFor();
      fake.endTasks();
      await page.getByText('The machine was deleted').waitFor();
      await page.getByRole('heading', { name: 'A cloud of your own' }).waitFor();
    });
  });
  test('or it is said why not', async () => {
    await visit('stopped', { hash: '#/settings/machine' }, async (page, fake) => {
      fake.state.tasksFail = true;
      await page.getByRole('button', { name: ask }).click();
      await page.getByLabel('Type default to confirm').fill('default');
      await page.getByRole('dialog').getByRole('button', { name: 'Delete everything' }).click();
      await page.getByText('Free 1.2 GB').waitFor();
      expect(await page.getByRole('button', { name: ask }).isEnabled()).toBe(true);
    });
  });
});
