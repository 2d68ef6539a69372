import axe from 'axe-core';
import type { Browser, BrowserContext, Page } from 'playwright-core';
import { afterAll, beforeAll, expect } from 'vitest';
import { launch } from '../browser.mjs';
import { startFake, type Scenario } from '../fake/server.mjs';

export type Fake = Awaited<ReturnType<typeof startFake>>;

let browser: Browser;

/** Starts the browser for a file of tests and ends it after them. */
export function withBrowser(): void {
  beforeAll(async () => {
    browser = await launch();
  });
  afterAll(() => browser.close());
}

interface Options {
  app?: 'native' | 'desktop';
  hash?: string;
  theme?: 'system' | 'light' | 'dark' | 'contrast';
  language?: 'en' | 'zh';
  width?: number;
  height?: number;
  bootSpeed?: number;
}

/** A page of a scenario. What the browser complains about fails the test at the end. */
export async function visit(
  scenario: Scenario,
  options: Options,
  work: (page: Page, fake: Fake, context: BrowserContext) => Promise<void>,
) {
  const {
    app = 'native',
    hash = '',
    theme = 'light',
    language = 'en',
    width = 1280,
    height = 800,
    bootSpeed = 10,
  } = options;
  const fake = await startFake({ scenario, app, bootSpeed, settings: { theme, language } });
  const context = await browser.newContext({
    viewport: { width, height },
    colorScheme: theme === 'light' ? 'light' : 'dark',
    contrast: theme === 'contrast' ? 'more' : 'no-preference',
    locale: language === 'zh' ? 'zh-CN' : 'en-GB',
    reducedMotion: 'reduce',
    permissions: ['clipboard-read', 'clipboard-write'],
  });
  await context.addInitScript((look) => localStorage.setItem('alcove.look', JSON.stringify(look)), {
    theme,
    language,
  });
  const page = await context.newPage();
  page.setDefaultTimeout(8000);
  const complaints: string[] = [];
  page.on('pageerror', (error) => complaints.push(`error: ${error.message}`));
  page.on('console', (message) => {
    // Calls that a scenario refuses on purpose are reported by the browser as well.
    if (message.type() === 'error' && !/Failed to load resource|WebSocket/.test(message.text()))
      complaints.push(message.text());
  });
  try {
    await page.goto(`${fake.url}/${hash}`);
    await page.locator('h1, h2').first().waitFor();
    await work(page, fake, context);
    expect(complaints).toEqual([]);
  } finally {
    await context.close();
    await fake.close();
  }
}

/** Waits until nothing is drawn as loading. */
export const settled = (page: Page) =>
  page.waitForFunction(() => !document.querySelector('.skeleton'), undefined, { timeout: 8000 });

interface AxeResult {
  violations: { id: string; help: string; nodes: { target: unknown[]; failureSummary?: string }[] }[];
}

/** What the accessibility engine finds wrong on the page, in one line each. */
export async function accessibilityProblems(page: Page): Promise<string[]> {
  // Colours are looked at once the page has drawn them.
  await page.evaluate(
    () => new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(() => resolve(null)))),
  );
  // The page's own policy forbids scripts from elsewhere; the debugger may evaluate nevertheless.
  await page.evaluate(axe.source);
  const result = (await page.evaluate(
    'axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"] })',
  )) as AxeResult;
  return result.violations.flatMap(({ id, help, nodes }) =>
    nodes.map(
      (node) =>
        `${id}: ${help}: ${node.target.join(' ')}: ${(node.failureSummary ?? '').replace(/\s+/g, ' ')}`,
    ),
  );
}

/** Elements that reach beyond the window sideways, or text that is cut without a way to see the rest. */
export const overflowing = (page: Page) =>
  page.evaluate(() => {
    const wide = document.documentElement.scrollWidth > innerWidth + 1 ? ['document'] : [];
    const main = document.querySelector('main');
    for (const element of main?.querySelectorAll<HTMLElement>('h1, h2, p, button, label, dt, dd') ?? []) {
      const box = element.getBoundingClientRect();
      if (box.width > 0 && box.right > innerWidth + 1 && !element.closest('[role=grid], .lines, nav')) {
        wide.push(`${element.tagName}: ${element.textContent?.trim().slice(0, 60)}`);
      }
    }
    return wide;
  });
