// Pictures of every page: npm run shots, into the folder SHOTS. SHOTS_ONLY picks by name.
import { mkdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { contextOf, launch } from './browser.mjs';
import { startFake } from './fake/server.mjs';

const folder = process.env['SHOTS'] ?? join(tmpdir(), 'alcove-shots');
const only = new RegExp(process.env['SHOTS_ONLY'] ?? '.');
mkdirSync(folder, { recursive: true });

const SIZES = { 720: [720, 520], 1280: [1280, 800], 1920: [1920, 1080] };
const POD = 'default/photos-0';
/** Name, scenario, address, and what is done before the picture. */
const PAGES = [
  ['wizard', 'absent', ''],
  ['wizard-blocked', 'blocked', ''],
  ['wizard-size', 'absent', '', (page) => page.getByRole('button', { name: /Continue|继续/ }).click()],
  [
    'wizard-you',
    'absent',
    '',
    async (page) => {
      for (let at = 0; at < 2; at += 1) await page.getByRole('button', { name: /Continue|继续/ }).click();
    },
  ],
  [
    'wizard-confirm',
    'absent',
    '',
    async (page) => {
      for (let at = 0; at < 3; at += 1) await page.getByRole('button', { name: /Continue|继续/ }).click();
    },
  ],
  ['booting', 'booting', '#/home'],
  ['slow', 'slow', '#/home'],
  ['bootfail', 'bootfail', '#/home'],
  ['failed', 'failed', '#/home'],
  ['stuck', 'stuck', '#/home'],
  [
    'stuck-confirm',
    'stuck',
    '#/home',
    (page) =>
      page
        .getByRole('alert')
        .getByRole('button', { name: /Turn off at once|强制关闭/ })
        .click(),
  ],
  ['home', 'running', '#/home'],
  ['home-charts', 'running', '#/home', (page) => page.locator('figure canvas').first().waitFor()],
  ['home-trouble', 'trouble', '#/home'],
  ['home-long', 'long', '#/home'],
  ['suspended', 'suspended', '#/home'],
  ['suspending', 'suspending', '#/home'],
  ['slowsuspend', 'slowsuspend', '#/home'],
  ['stopping', 'stopping', '#/home'],
  ['slowstop', 'slowstop', '#/home'],
  ['stopped', 'stopped', '#/home'],
  ['snapshots', 'suspended', '#/home/snapshots'],
  [
    'snapshots-ask',
    'suspended',
    '#/home/snapshots',
    (page) => page.getByRole('button', { name: /Make a snapshot|制作快照/ }).click(),
  ],
  [
    'snapshots-making',
    'suspended',
    '#/home/snapshots',
    async (page, fake) => {
      fake.state.holdTasks = true;
      await page.getByRole('button', { name: /Make a snapshot|制作快照/ }).click();
      await page
        .getByRole('dialog')
        .getByRole('button', { name: /Make a snapshot|制作快照/ })
        .click();
    },
  ],
  [
    'snapshots-failed',
    'suspended',
    '#/home/snapshots',
    async (page, fake) => {
      fake.state.tasksFail = true;
      await page.getByRole('button', { name: /Make a snapshot|制作快照/ }).click();
      await page
        .getByRole('dialog')
        .getByRole('button', { name: /Make a snapshot|制作快照/ })
        .click();
      await page.getByRole('alert').waitFor();
    },
  ],
  ['shell', 'running', '#/home/shell', (page) => page.locator('.xterm-rows').getByText('walnut').waitFor()],
  ['logs', 'running', '#/home/logs?q=warning'],
  [
    'logs-broken',
    'running',
    '#/home/logs',
    async (page, fake) => {
      fake.state.logsFail = true;
      fake.cutLogs();
      await page.getByText(/The log broke off|日志已中断/).waitFor();
    },
  ],
  ['console', 'running', '#/home/console'],
  ['cluster', 'trouble', '#/cluster'],
  ['nodes', 'running', '#/cluster/nodes/walnut-alcove'],
  ['pods', 'trouble', '#/cluster/pods'],
  ['pods-many', 'many', '#/cluster/pods'],
  ['pods-long', 'long', '#/cluster/pods'],
  [
    'pods-columns',
    'long',
    '#/cluster/pods',
    (page) => page.getByRole('button', { name: /^(Columns|列)$/ }).click(),
  ],
  ['pods-empty', 'empty', '#/cluster/pods'],
  ['pod', 'trouble', `#/cluster/pods/${POD}`],
  ['pod-logs', 'trouble', `#/cluster/pods/${POD}?tab=logs`],
  ['events', 'trouble', '#/cluster/events'],
  ['event', 'trouble', '#/cluster/events/default/Pod%2Fbackup-29318-r7c2d/FailedScheduling'],
  ['activity', 'running', '#/activity'],
  ['operations', 'running', '#/activity/operations'],
  ['operation', 'running', '#/activity/operations/14'],
  ['settings', 'running', '#/settings'],
  ['size', 'running', '#/settings/machine'],
  [
    'size-changed',
    'running',
    '#/settings/machine',
    async (page) => {
      for (const name of [/Processors|处理器/, /Disk|磁盘/]) {
        await page.getByRole('slider', { name }).focus();
        await page.keyboard.press('ArrowRight');
      }
    },
  ],
  ['about', 'running', '#/settings/about'],
  [
    'about-worse',
    'running',
    '#/settings/about',
    async (page, fake) => {
      fake.state.worse = true;
      await page.reload();
      await page.getByRole('button', { name: /Bring another image|获取另一个镜像/ }).click();
    },
  ],
  [
    'home-worse',
    'trouble',
    '#/home',
    async (page, fake) => {
      fake.state.worse = true;
      await page.reload();
      await page.locator('h1').waitFor();
    },
  ],
  [
    'quit',
    'running',
    '#/settings',
    async (page, fake) => {
      await page
        .getByRole('main')
        .getByRole('button', { name: /Quit Alcove|退出 Alcove/ })
        .click();
      await page
        .getByRole('dialog')
        .getByRole('button', { name: /Quit Alcove|退出 Alcove/ })
        .click();
      await page.getByRole('heading', { name: /Alcove has quit|Alcove 已退出/ }).waitFor();
    },
  ],
  ['refused', 'refused', ''],
  ['dead', 'dead', ''],
  ['palette', 'running', '#/home', (page) => page.keyboard.press('Control+k')],
  [
    'menu',
    'running',
    '#/home',
    (page) =>
      page
        .getByRole('main')
        .getByRole('button', { name: /More|更多/ })
        .click(),
  ],
  [
    'confirm',
    'running',
    '#/settings/machine',
    (page) =>
      page
        .getByRole('main')
        .getByRole('button', { name: /Delete the machine|删除云主机/ })
        .click(),
  ],
];
const DESKTOP = [
  ['desktop', 'running', '', undefined],
  ['desktop-about', 'running', '', (page) => page.getByRole('navigation').getByRole('button').click()],
  [
    'desktop-away',
    'running',
    '',
    async (page, fake) => {
      fake.state.down = true;
      await page.evaluate(() => dispatchEvent(new Event('offline')));
      await page.getByRole('alert').waitFor();
    },
  ],
  ['desktop-long', 'long', '', undefined],
  ['desktop-refused', 'refused', '', undefined],
  ['desktop-dead', 'dead', '', undefined],
];

const browser = await launch();
let count = 0;
try {
  for (const [app, list] of /** @type {const} */ ([
    ['native', PAGES],
    ['desktop', DESKTOP],
  ])) {
    for (const [name, scenario, hash, prepare] of list) {
      const sizes = app === 'desktop' ? { 390: [390, 700], ...SIZES } : SIZES;
      for (const [size, [width, height]] of Object.entries(sizes)) {
        for (const theme of ['light', 'dark', 'contrast']) {
          for (const language of ['en', 'zh']) {
            const file = `${name}-${size}-${theme}-${language}`;
            if (!only.test(file)) continue;
            const fake = await startFake({ scenario, app, settings: { theme, language } });
            const context = await contextOf(browser, { theme, language }, { viewport: { width, height } });
            const page = await context.newPage();
            await page.goto(`${fake.url}/${hash}`);
            await page.locator('h1, h2').first().waitFor();
            // Pages that read something draw a skeleton first: it goes when everything was answered.
            await page
              .waitForFunction(() => !document.querySelector('.skeleton'), null, { timeout: 5000 })
              .catch(() => undefined);
            if (prepare) await prepare(page, fake);
            await page.waitForTimeout(name.startsWith('home') ? 1200 : 350);
            await page.screenshot({ path: join(folder, `${file}.png`) });
            await context.close();
            await fake.close();
            count += 1;
          }
        }
      }
    }
  }
} finally {
  await browser.close();
}
console.log(`${count} pictures in ${folder}`);
