// The browser of the tests and screenshots: the system's own chromium.
import { existsSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { chromium } from 'playwright-core';

function executable() {
  if (process.env['CHROMIUM']) return process.env['CHROMIUM'];
  const names = ['chromium', 'chromium-browser', 'google-chrome'];
  for (const folder of (process.env['PATH'] ?? '').split(delimiter)) {
    for (const name of names) if (existsSync(join(folder, name))) return join(folder, name);
  }
  throw new Error('no chromium was found on PATH; set CHROMIUM');
}

/** Starts the browser. */
export const launch = () =>
  chromium.launch({
    executablePath: executable(),
    args: ['--no-sandbox', '--disable-gpu', '--font-render-hinting=none'],
  });

/**
 * A context of a person who sees the pages in this theme and language, and wants nothing to move.
 * @param {import('playwright-core').Browser} browser
 * @param {{ theme: string, language: string }} look
 * @param {import('playwright-core').BrowserContextOptions} [more]
 */
export async function contextOf(browser, { theme, language }, more = {}) {
  const context = await browser.newContext({
    colorScheme: theme === 'light' ? 'light' : 'dark',
    contrast: theme === 'contrast' ? 'more' : 'no-preference',
    locale: language === 'zh' ? 'zh-CN' : 'en-GB',
    reducedMotion: 'reduce',
    ...more,
  });
  await context.addInitScript((look) => localStorage.setItem('alcove.look', JSON.stringify(look)), {
    theme,
    language,
  });
  return context;
}
