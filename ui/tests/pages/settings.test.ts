import { describe, expect, test } from 'vitest';
import { visit, withBrowser } from './support';

withBrowser();

describe('settings', () => {
  test('that are changed while others are being saved are saved after them', async () => {
    await visit('running', { hash: '#/settings' }, async (page, fake) => {
      fake.state.settingsMs = 300;
      await page.getByRole('textbox', { name: 'Your name' }).fill('Ada');
      // Leaving the field saves the name; the click that leaves it is not lost.
      await page.getByText('Dark', { exact: true }).click();
      await page.getByRole('combobox', { name: 'When Alcove starts' }).selectOption('keep');
      await expect
        .poll(() => fake.state.settings)
        .toMatchObject({ display_name: 'Ada', theme: 'dark', start: 'keep' });
    });
  });
  test('that are refused show what is saved', async () => {
    await visit('running', { hash: '#/settings' }, async (page, fake) => {
      fake.state.settingsFail = true;
      const start = page.getByRole('combobox', { name: 'When Alcove starts' });
      await start.selectOption('keep');
      await page.getByText('The settings can’t be written').first().waitFor();
      await expect.poll(() => start.inputValue()).toBe('running');
      await page.getByText('Dark', { exact: true }).click();
      await page.getByText('The settings can’t be written').nth(1).waitFor();
      await expect.poll(() => page.getByRole('radio', { name: 'Light' }).isChecked()).toBe(true);
    });
  });
  test('have the keys, and a way to quit that asks first', async () => {
    await visit('running', { hash: '#/settings' }, async (page) => {
      const keys = page.getByRole('region', { name: 'Keyboard' });
      await keys.getByText('Find a command or a page').waitFor();
      // In a browser these are the browser's.
      expect(await keys.getByText('Ctrl+Q').count()).toBe(0);
      const quit = page.getByRole('main').getByRole('button', { name: 'Quit Alcove' });
      await quit.click();
      await page.getByRole('dialog', { name: 'Quit Alcove?' }).waitFor();
      await page.keyboard.press('Escape');
      await expect.poll(() => quit.evaluate((button) => button === document.activeElement)).toBe(true);
    });
  });
  test('start at login is not said to be saved when it was not, and is taken back', async () => {
    await visit('running', {}, async (page, fake) => {
      fake.state.settingsFail = true;
      // The window's own commands, as far as this page needs them.
      await page.addInitScript((base) => {
        let login = false;
        const answers: Record<string, (given: { enabled?: boolean }) => unknown> = {
          connection: () => ({ base }),
          autostart_get: () => login,
          autostart_set: ({ enabled }) => {
            login = enabled ?? false;
            return null;
          },
        };
        Object.assign(globalThis, {
          __TAURI_INTERNALS__: {
            invoke: (command: string, given: { enabled?: boolean }) =>
              Promise.resolve(answers[command]?.(given) ?? null),
            transformCallback: () => 0,
          },
        });
      }, fake.url);
      await page.goto(`${fake.url}/#/settings`);
      await page.reload();
      await page.getByText('Ctrl+Q').first().waitFor();
      await page.getByText('Close the window; Alcove goes on in the tray').waitFor();
      const login = page.getByRole('switch', { name: 'Start at login' });
      await login.click();
      await page.getByText('The settings can’t be written').waitFor();
      expect(await page.getByText('Saved').count()).toBe(0);
      expect(await login.getAttribute('aria-checked')).toBe('false');
    });
  });
});
