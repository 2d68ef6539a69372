import { describe, expect, test } from 'vitest';
import { settled, visit, withBrowser } from './support';

withBrowser();

const paths = (fake: { requests: { method?: string | undefined; path: string }[] }) =>
  fake.requests.filter(({ method }) => method !== 'GET').map(({ method, path }) => `${method} ${path}`);

describe('the first run', () => {
  test('by keyboard alone, from the first question to a running machine', async () => {
    await visit('absent', { bootSpeed: 12 }, async (page, fake) => {
      await page.getByRole('button', { name: 'Continue' }).waitFor();
      await page.getByRole('button', { name: 'Continue' }).focus();
      await page.keyboard.press('Enter');
      await page.getByRole('slider', { name: 'Memory' }).focus();
      await page.keyboard.press('ArrowRight');
      expect(await page.getByRole('slider', { name: 'Memory' }).getAttribute('aria-valuetext')).toBe(
        '4.5 GB',
      );
      await page.keyboard.press('Enter');
      await page.getByRole('textbox', { name: 'Your name' }).focus();
      await page.keyboard.type('Ada');
      await page.keyboard.press('Enter');
      await page.getByText('up to 40 GB').waitFor();
      await page.getByRole('button', { name: 'Create and start' }).focus();
      await page.keyboard.press('Enter');

      await page.getByRole('heading', { name: 'Starting' }).waitFor();
      await page.getByRole('list', { name: 'Steps of the boot' }).waitFor();
      await page.getByRole('heading', { name: 'Running' }).waitFor();
      await page.getByRole('meter', { name: 'Memory' }).waitFor();
      expect(paths(fake)).toEqual(['PATCH /settings', 'POST /machine', 'POST /machine/start']);
      expect(fake.state.settings).toMatchObject({ display_name: 'Ada', language: 'en' });
      expect(fake.state.setup).toMatchObject({ memory_bytes: 4.5 * 1024 ** 3 });
    });
  });
  test('a host that can’t says what to do and lets nobody on', async () => {
    await visit('blocked', {}, async (page) => {
      await page.getByText('sudo apt install qemu-system-x86').waitFor();
      expect(await page.getByRole('button', { name: 'Continue' }).count()).toBe(0);
      await page.getByRole('button', { name: 'Check again' }).waitFor();
    });
  });
  test('language and theme show at once', async () => {
    await visit('absent', {}, async (page) => {
      await page.getByRole('button', { name: 'Continue' }).click();
      await page.getByRole('button', { name: 'Continue' }).click();
      await page.getByText('中文').click();
      await page.getByRole('heading', { name: '它为谁而建？' }).waitFor();
      await page.getByText('深色').click();
      expect(await page.locator('html').getAttribute('data-theme')).toBe('dark');
      expect(await page.locator('html').getAttribute('lang')).toBe('zh-CN');
    });
  });
});

/** The share of the frames of three seconds in which something moves with every frame; a spinner moves now and then. */
const restless = () =>
  new Promise<number>((resolve) => {
    const begun = performance.now();
    let [frames, moved] = [0, 0];
    const look = () => {
      frames += 1;
      const smooth = document
        .getAnimations()
        .filter(({ playState, effect }) => playState === 'running' && effect instanceof KeyframeEffect)
        .flatMap(({ effect }) => (effect as KeyframeEffect).getKeyframes())
        .some(({ easing, offset }) => offset === 0 && !easing.startsWith('steps'));
      if (smooth) moved += 1;
      if (performance.now() - begun < 3000) requestAnimationFrame(look);
      else resolve(moved / frames);
    };
    requestAnimationFrame(look);
  });

describe('the machine', () => {
  test('has the processor to itself while it boots: the page does not draw all the time', async () => {
    await visit('stopped', { hash: '#/home', bootSpeed: 1 }, async (page) => {
      await page.emulateMedia({ reducedMotion: 'no-preference' });
      await page.getByRole('button', { name: 'Start' }).first().click();
      await page.getByRole('list', { name: 'Steps of the boot' }).waitFor();
      const share = await page.evaluate(restless);
      await page.emulateMedia({ reducedMotion: 'reduce' });
      expect(share).toBeLessThan(0.4);
    });
  });
  test('is suspended from the rail and resumed from the palette', async () => {
    await visit('running', { hash: '#/home' }, async (page, fake) => {
      await page.getByRole('navigation', { name: 'Main' }).getByRole('button', { name: 'Suspend' }).click();
      await page.getByRole('heading', { name: 'Suspended' }).waitFor();
      await page.keyboard.press('Control+k');
      await page.keyboard.type('resu');
      await page.keyboard.press('Enter');
      await page.getByRole('heading', { name: 'Running' }).waitFor();
      expect(paths(fake)).toEqual(['POST /machine/suspend', 'POST /machine/resume']);
    });
  });
  test('is deleted only after its name was typed', async () => {
    await visit('running', { hash: '#/settings/machine' }, async (page, fake) => {
      await page.getByRole('button', { name: 'Delete the machine' }).click();
      const sure = page.getByRole('dialog').getByRole('button', { name: 'Delete everything' });
      expect(await sure.isDisabled()).toBe(true);
      await page.getByLabel('Type default to confirm').fill('defaul');
      expect(await sure.isDisabled()).toBe(true);
      await page.keyboard.press('Escape');
      expect(paths(fake)).toEqual([]);
      await page.getByRole('button', { name: 'Delete the machine' }).click();
      await page.getByLabel('Type default to confirm').fill('default');
      await sure.click();
      await page.getByRole('heading', { name: 'A cloud of your own' }).waitFor();
    });
  });
  test('that has troubles says so first, with what to do', async () => {
    await visit('trouble', { hash: '#/home' }, async (page) => {
      await page.getByText('Make the disk larger in the settings.').waitFor();
      expect(await page.locator('main p').first().textContent()).toContain(
        'Kubernetes has not answered for 40 seconds',
      );
    });
  });
  test('that failed shows why, its last words and the way on', async () => {
    await visit('failed', { hash: '#/home' }, async (page, fake) => {
      await page.getByRole('heading', { name: 'Kubernetes did not get ready within 5 minutes' }).waitFor();
      await page.getByText('bind: address already in use').waitFor();
      await page.getByRole('button', { name: 'Start a rescue shell' }).click();
      await page.waitForURL(/#\/home\/console/);
      expect(paths(fake)).toEqual(['POST /machine/start']);
    });
  });
  test('that failed while it is on is turned off at once by keyboard, after a question', async () => {
    await visit('stuck', { hash: '#/home' }, async (page, fake) => {
      await page.getByRole('heading', { level: 1, name: 'Stuck' }).waitFor();
      await page.getByText('It is still on, but gets no further.').waitFor();
      const off = page.getByRole('alert').getByRole('button', { name: 'Turn off at once' });
      const dialog = page.getByRole('dialog', { name: 'Turn the machine off at once?' });
      await off.focus();
      await page.keyboard.press('Enter');
      await dialog.getByText('what programs have not written to disk is lost').waitFor();
      await page.keyboard.press('Escape');
      await dialog.waitFor({ state: 'detached' });
      expect(paths(fake)).toEqual([]);

      // The focus is back where the question was asked.
      await page.keyboard.press('Enter');
      await dialog.getByRole('button', { name: 'Turn off at once' }).focus();
      await page.keyboard.press('Enter');
      await page.getByRole('heading', { level: 1, name: 'Stopped' }).waitFor();
      expect(paths(fake)).toEqual(['POST /machine/kill']);
    });
  });
  test('that failed and is off has no plug to pull', async () => {
    await visit('failed', { hash: '#/home' }, async (page) => {
      await page.getByRole('heading', { level: 1, name: 'Didn’t come up' }).waitFor();
      await page.getByRole('main').getByRole('button', { name: 'More' }).click();
      await page.getByRole('menuitem', { name: 'Start a rescue shell' }).waitFor();
      expect(await page.getByText('Turn off at once').count()).toBe(0);
    });
  });
  test('that failed while it is on offers to turn it off in Chinese, too', async () => {
    await visit('stuck', { hash: '#/home', language: 'zh' }, async (page, fake) => {
      await page.getByRole('heading', { level: 1, name: '卡住了' }).waitFor();
      await page.getByRole('alert').getByRole('button', { name: '强制关闭' }).click();
      const dialog = page.getByRole('dialog', { name: '要强制关闭云主机吗？' });
      await dialog.getByText('程序尚未写入磁盘的内容会丢失').waitFor();
      await dialog.getByRole('button', { name: '强制关闭' }).click();
      await page.getByRole('heading', { level: 1, name: '已停止' }).waitFor();
      expect(paths(fake)).toEqual(['POST /machine/kill']);
    });
  });
  test.each([
    ['slowstop', 'Shutting down', 'stopping'],
    ['slowsuspend', 'Suspending', 'suspending'],
  ] as const)(
    'that rests only after long can be turned off at once: %s',
    async (scenario, heading, usual) => {
      await visit(scenario, { hash: '#/home' }, async (page, fake) => {
        await page.getByRole('heading', { level: 1, name: heading }).waitFor();
        await page.getByText(/^This takes long: 2 min \d+ s so far$/).waitFor();
        await page.getByRole('main').getByRole('button', { name: 'Turn off at once' }).click();
        await page.getByRole('dialog').getByRole('button', { name: 'Turn off at once' }).click();
        await page.getByRole('heading', { level: 1, name: 'Stopped' }).waitFor();
        expect(paths(fake)).toEqual(['POST /machine/kill']);
      });
      await visit(usual, { hash: '#/home' }, async (page) => {
        await page.getByRole('heading', { level: 1, name: heading }).waitFor();
        expect(await page.getByText('This takes long').count()).toBe(0);
      });
    },
  );
  test('that boots slowly says so and shows the log of the step', async () => {
    await visit('slow', { hash: '#/home' }, async (page) => {
      await page.getByText('“Cluster API” takes longer than usual').waitFor();
      await page
        .getByRole('log', { name: 'What this step says' })
        .getByText('bootstrap-roles not finished')
        .waitFor();
      await page.getByRole('button', { name: 'Serial log' }).waitFor();
    });
  });
  test('opens its web desktop through a ticket', async () => {
    await visit('running', { hash: '#/home' }, async (page, _, context) => {
      const opened = context.waitForEvent('page');
      await page.getByRole('button', { name: 'Open web desktop' }).click();
      await (await opened).waitForURL(/ticket-was-opened/);
    });
  });
  test('has a shell that answers, ends and opens again', async () => {
    await visit('running', { hash: '#/home/shell' }, async (page) => {
      const screen = page.locator('.xterm-rows');
      await screen.getByText('root@walnut-alcove').waitFor();
      await page.keyboard.type('hello\r');
      await screen.getByText('you said: hello').waitFor();
      await page.keyboard.type('exit\r');
      await page.getByText('The shell ended with status 0').waitFor();
      await page.getByRole('button', { name: 'Open again' }).click();
      await screen.getByText('root@walnut-alcove').waitFor();
    });
  });
  test.each([
    ['#/home/shell', 'Shell', ''],
    ['#/home/console', 'Serial console', 'Attach'],
  ])('has a terminal that the keyboard gets out of: %s', async (hash, name, attach) => {
    await visit('running', { hash }, async (page) => {
      if (attach) await page.getByRole('button', { name: attach }).click();
      const terminal = page.getByRole('textbox', { name });
      await page.locator('.xterm-rows').getByText('walnut-alcove').waitFor();
      await terminal.focus();
      const focused = () => terminal.evaluate((box) => box === document.activeElement);
      // Tab and Esc are for what runs in it.
      await page.keyboard.press('Tab');
      await page.keyboard.press('Escape');
      expect(await focused()).toBe(true);
      await page.getByText('Ctrl+Shift+Esc leaves the terminal.').waitFor();
      await page.keyboard.press('Control+Shift+Escape');
      expect(await page.evaluate(() => document.activeElement?.textContent?.trim())).toBe(name);

      await terminal.focus();
      await page.keyboard.press('Control+k');
      await page.getByRole('dialog', { name: 'Commands' }).waitFor();
      await page.keyboard.press('Escape');
      expect(await focused()).toBe(true);
      await page.keyboard.press('Alt+3');
      await page.getByRole('heading', { name: 'Activity' }).waitFor();
    });
  });
  test('has logs that are searched, with an address that brings the search back', async () => {
    await visit('running', { hash: '#/home/logs?source=kernel' }, async (page) => {
      await page.getByText('400 lines').waitFor();
      await page.getByRole('searchbox', { name: 'Find' }).fill('warning');
      await page.getByText('10 lines').waitFor();
      expect(page.url()).toContain('source=kernel&q=warning');
      await page.reload();
      await page.getByText('10 lines').waitFor();
    });
  });
});

describe('the machine’s page', () => {
  test('keeps the charts’ place until there is something to draw, and says what is under the pointer', async () => {
    await visit('running', { hash: '#/home' }, async (page, fake) => {
      fake.state.reportEveryMs = 1e9;
      const card = page.getByRole('region', { name: 'Memory' });
      await card.getByText('The line begins with the next figures.').waitFor();
      expect(await page.locator('figure').count()).toBe(0);
      const before = (await card.boundingBox())?.height;
      fake.state.reportEveryMs = 500;
      await page.locator('figure canvas').first().waitFor();
      expect((await card.boundingBox())?.height).toBe(before);
      const chart = page.getByRole('img', { name: /Memory in use/ });
      const box = await chart.boundingBox();
      expect(box).not.toBe(null);
      if (box) await page.mouse.move(box.x + box.width - 20, box.y + 40);
      await chart.getByText(/GB · \d\d:\d\d:\d\d/).waitFor();
    });
  });
  test('draws its charts under the locale C, whose name is no language', async () => {
    await visit('running', { hash: '#/home' }, async (page) => {
      await page.addInitScript(() =>
        Object.defineProperty(Navigator.prototype, 'language', { get: () => 'C' }),
      );
      await page.reload();
      await page.locator('figure canvas').first().waitFor();
    });
  });
  test('says that a part could not be loaded, and loads the page again', async () => {
    await visit('running', { hash: '#/settings' }, async (page) => {
      await page.route(/assets\/Chart-/, (route) => route.abort());
      await page.getByRole('link', { name: 'Home' }).click();
      await page.getByText('This part of the page could not be loaded.').first().waitFor();
      await page.unroute(/assets\/Chart-/);
      await page.getByRole('button', { name: 'Load the page again' }).first().click();
      await page.locator('figure canvas').first().waitFor();
    });
  });
  test('puts conditions that need attention first and cuts none of their words', async () => {
    await visit('trouble', { hash: '#/home', width: 720, height: 900 }, async (page) => {
      const rows = page.getByRole('region', { name: 'Conditions' }).getByRole('listitem');
      expect(await rows.first().textContent()).toContain(
        'Running, but Kubernetes has not answered for 40 seconds.',
      );
      for (const message of await rows.locator('.message').all()) {
        expect(await message.evaluate((box) => box.scrollWidth <= box.clientWidth + 1)).toBe(true);
      }
    });
  });
  test('while a step fails offers the serial log, a restart and the plug', async () => {
    await visit('bootfail', { hash: '#/home' }, async (page, fake) => {
      await page.getByText('A step failed. Alcove tries to go on').waitFor();
      const alert = page.getByRole('alert');
      await alert.getByText('The API server did not get ready within 90 s.').waitFor();
      await alert.getByRole('button', { name: 'Serial log' }).waitFor();
      await alert.getByRole('button', { name: 'Restart' }).waitFor();
      await alert.getByRole('button', { name: 'Turn off at once' }).click();
      await page.getByRole('dialog').getByRole('button', { name: 'Turn off at once' }).click();
      await expect.poll(() => paths(fake)).toEqual(['POST /machine/kill']);
    });
  });
  test.each([
    ['suspending', 'Suspending', 'Saving memory to disk'],
    ['suspended', 'Suspended', 'Asleep'],
    ['stopping', 'Shutting down', 'Programs are ending'],
    ['stopped', 'Stopped', 'Turned off'],
  ] as const)('has a picture of its own while %s', async (scenario, heading, words) => {
    await visit(scenario, { hash: '#/home' }, async (page) => {
      await page.getByRole('heading', { level: 1, name: heading }).waitFor();
      await page.getByText(words, { exact: true }).waitFor();
    });
  });
});

describe('settings', () => {
  test('a theme is saved at once and can be undone', async () => {
    await visit('running', { hash: '#/settings' }, async (page, fake) => {
      await page.getByText('Dark', { exact: true }).click();
      await page.getByText('Saved').waitFor();
      expect(fake.state.settings).toMatchObject({ theme: 'dark' });
      await page.getByRole('button', { name: 'Undo' }).click();
      await page.waitForFunction(() => document.documentElement.dataset['theme'] === 'light');
      expect(fake.state.settings).toMatchObject({ theme: 'light' });
    });
  });
  test('sizes are saved on request and wait for a restart', async () => {
    await visit('running', { hash: '#/settings/machine', bootSpeed: 60 }, async (page, fake) => {
      await settled(page);
      expect(await page.getByRole('button', { name: 'Save' }).isDisabled()).toBe(true);
      await page.getByRole('slider', { name: 'Processors' }).focus();
      await page.keyboard.press('ArrowRight');
      await page.getByRole('button', { name: 'Save' }).click();
      await page.getByText('Waits for a restart: size').waitFor();
      await page.getByRole('main').getByRole('button', { name: 'Restart' }).click();
      await page.getByRole('dialog').getByRole('button', { name: 'Restart' }).click();
      await page.getByText('Waits for a restart: size').waitFor({ state: 'detached' });
      expect(paths(fake)).toEqual(['PATCH /settings', 'POST /machine/restart']);
    });
  });
  test('sizes say what comes of them only when something comes of them, and are undone', async () => {
    await visit('running', { hash: '#/settings/machine' }, async (page, fake) => {
      await settled(page);
      const note = page.getByText('Takes effect at the next restart.');
      expect(await note.count()).toBe(0);
      const cpus = page.getByRole('slider', { name: 'Processors' });
      await cpus.focus();
      await page.keyboard.press('ArrowRight');
      await note.waitFor();
      await page.keyboard.press('ArrowLeft');
      await note.waitFor({ state: 'detached' });
      await page.getByRole('slider', { name: 'Disk' }).focus();
      await page.keyboard.press('ArrowRight');
      await page.getByText('can’t go back to 40 GB').waitFor();
      // A larger disk is taken up by the running machine.
      expect(await note.count()).toBe(0);
      await cpus.focus();
      await page.keyboard.press('ArrowRight');
      await note.waitFor();
      await page.getByRole('button', { name: 'Save' }).click();
      await page.getByRole('button', { name: 'Undo' }).click();
      // The disk stays as large as it was asked to be: it can't shrink.
      await expect
        .poll(() => fake.state.settings)
        .toMatchObject({ machine: { cpus: 4, disk_bytes: 41 * 1024 ** 3 } });
    });
    await visit('stopped', { hash: '#/settings/machine' }, async (page) => {
      await settled(page);
      await page.getByRole('slider', { name: 'Processors' }).focus();
      await page.keyboard.press('ArrowRight');
      expect(await page.getByRole('button', { name: 'Save' }).isEnabled()).toBe(true);
      expect(await page.getByText('Takes effect at the next restart.').count()).toBe(0);
    });
    // There is no way back from a larger disk, so none is offered.
    await visit('stopped', { hash: '#/settings/machine' }, async (page) => {
      await settled(page);
      await page.getByRole('slider', { name: 'Disk' }).focus();
      await page.keyboard.press('ArrowRight');
      await page.getByRole('button', { name: 'Save' }).click();
      await page.getByText('Saved', { exact: true }).waitFor();
      expect(await page.getByRole('button', { name: 'Undo' }).count()).toBe(0);
    });
  });
  test('a name that is too long is explained at its field and not saved; an undo shows in the field', async () => {
    await visit('running', { hash: '#/settings' }, async (page, fake) => {
      const name = page.getByRole('textbox', { name: 'Your name' });
      await name.fill('x'.repeat(61));
      await page.getByText('At most 60 letters').waitFor();
      expect(await name.getAttribute('aria-invalid')).toBe('true');
      await name.press('Tab');
      expect(paths(fake)).toEqual([]);
      await name.fill('Ada');
      await name.press('Tab');
      await page.getByRole('button', { name: 'Undo' }).click();
      await expect.poll(() => name.inputValue()).toBe('');
    });
  });
  test('what only the window can change says so in a browser', async () => {
    await visit('running', { hash: '#/settings' }, async (page) => {
      expect(await page.getByRole('switch', { name: 'Start at login' }).isDisabled()).toBe(true);
      await page.getByText('Can be changed in Alcove’s own window.').waitFor();
    });
  });
  test('the language changes everything', async () => {
    await visit('running', { hash: '#/settings' }, async (page) => {
      await page.getByRole('combobox', { name: 'Language' }).selectOption('zh');
      await page.getByRole('heading', { name: '设置' }).waitFor();
      await page.getByRole('link', { name: '主页' }).click();
      await page.getByRole('heading', { name: '运行中' }).waitFor();
    });
  });
});

describe('the link to the supervisor', () => {
  test('lost, it counts down and comes back by itself', async () => {
    await visit('dead', {}, async (page, fake) => {
      await page.getByRole('heading', { name: 'Alcove doesn’t answer' }).waitFor();
      await page.getByText(/Trying again in \d+ seconds?/).waitFor();
      fake.state.down = false;
      await page.getByRole('button', { name: 'Try now' }).click();
      await page.getByRole('heading', { name: 'Running' }).waitFor();
    });
  });
  test('refused, it says how to get in and never shows “nothing”', async () => {
    await visit('refused', { hash: '#/cluster/pods' }, async (page) => {
      await page.getByRole('heading', { name: 'This browser isn’t signed in' }).waitFor();
      await page.getByText('alcove open').waitFor();
      expect(await page.getByText('No pods').count()).toBe(0);
    });
  });
});

describe('activity', () => {
  test('a running task shows its progress and can be cancelled', async () => {
    await visit('stopped', { hash: '#/activity', bootSpeed: 1 }, async (page, fake) => {
      await page.getByRole('navigation', { name: 'Main' }).getByRole('button', { name: 'Start' }).click();
      await page.getByRole('progressbar', { name: 'Start' }).waitFor();
      await page.getByRole('button', { name: 'Cancel: Start' }).click();
      await page.getByText('Cancelled').waitFor();
      expect(paths(fake)[1]).toMatch(/POST \/tasks\/.*\/cancel/);
    });
  });
  test('older lines of the operation log are read page by page', async () => {
    await visit('many', { hash: '#/activity/operations' }, async (page) => {
      await page.getByText('200 lines').waitFor();
      await page.getByRole('button', { name: 'Show older' }).click();
      await page.getByText('300 lines').waitFor();
    });
  });
});
