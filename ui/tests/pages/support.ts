import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import type { Browser, BrowserContext, Page } from 'playwright-core';
import { afterAll, beforeAll, expect } from 'vitest';
import { contextOf, launch } from '../browser.mjs';
import { startFake, type Scenario } from '../fake/server.mjs';

export type Fake = Awaited<ReturnType<typeof startFake>>;

/**
 * A tab of the browser, and what it complains about. A process of its own for each visit costs far more than the
 * visit: each look has one tab, and each visit a page of its own in it, from an origin that nothing was stored for.
 */
interface Tab {
  context: BrowserContext;
  page: Page;
  complaints: string[];
  /** Forgets all that was stored for an origin. */
  forget: (origin: string) => Promise<unknown>;
}

let browser: Browser;
const tabs = new Map<string, Tab>();

/** Starts the browser for a file of tests and ends it after them. */
export function withBrowser(): void {
  beforeAll(async () => {
    browser = await launch();
  });
  afterAll(async () => {
    tabs.clear();
    await browser.close();
  });
}

interface Look {
  theme: 'system' | 'light' | 'dark' | 'contrast';
  language: 'en' | 'zh';
}
interface Options extends Partial<Look> {
  app?: 'native' | 'desktop';
  hash?: string;
  width?: number;
  height?: number;
  bootSpeed?: number;
}

async function openTab(look: Look): Promise<Tab> {
  const context = await contextOf(browser, look, { permissions: ['clipboard-read', 'clipboard-write'] });
  const page = await context.newPage();
  page.setDefaultTimeout(8000);
  const complaints: string[] = [];
  page.on('pageerror', (error) => complaints.push(`error: ${error.message}`));
  page.on('console', (message) => {
    // Calls that a scenario refuses on purpose are reported by the browser as well.
    if (message.type() === 'error' && !/Failed to load resource|WebSocket/.test(message.text()))
      complaints.push(message.text());
  });
  const debug = await context.newCDPSession(page);
  const forget = (origin: string) =>
    debug.send('Storage.clearDataForOrigin', { origin, storageTypes: 'all' });
  return { context, page, complaints, forget };
}

/** Leaves the page that was visited, so that nothing of it is there at the next visit. */
async function leave({ context, page, forget }: Tab, origin: string): Promise<void> {
  for (const other of context.pages()) if (other !== page) await other.close();
  await page.goto('about:blank');
  // Out of the window, where no page has the pointer over anything.
  await page.mouse.move(-1, -1);
  await forget(origin);
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
  const name = `${theme} ${language}`;
  const tab = tabs.get(name) ?? (await openTab({ theme, language }));
  // A tab in which something failed is not used again.
  tabs.delete(name);
  const { page, context, complaints } = tab;
  let left = false;
  try {
    complaints.length = 0;
    await page.setViewportSize({ width, height });
    await page.goto(`${fake.url}/${hash}`);
    await page.locator('h1, h2').first().waitFor();
    await work(page, fake, context);
    expect(complaints).toEqual([]);
    await leave(tab, fake.url);
    tabs.set(name, tab);
    left = true;
  } finally {
    if (!left) await context.close();
    await fake.close();
  }
}

/** Waits until nothing is drawn as loading. */
export const settled = (page: Page) =>
  page.waitForFunction(() => !document.querySelector('.skeleton'), undefined, { timeout: 8000 });

/** The accessibility engine. */
const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

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
  if (!(await page.evaluate(() => 'axe' in globalThis))) await page.evaluate(AXE);
  const result = (await page.evaluate(
    `axe.run(document, {
      runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
      resultTypes: ["violations"],
    })`,
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
