// Speed of the console at ten thousand pods, in the browser against the stand-in: npm run bench [-- NAME…]. One JSON
// object a line, as `cargo xtask bench` has them.
import { launch } from './browser.mjs';
import { startFake } from './fake/server.mjs';

const PODS = 10_000;
/** Changes a second; the page reads the list every three seconds or so. */
const CHANGES = 50;
const ROUNDS = 7;
const WATCH_MS = Number(process.env['WATCH_MS'] ?? 12_000);

const context = { pods: PODS, browser: 'chromium', window: '1280x800' };
/** Figure, unit and budget. A frame at 60 a second is 16.7 ms, with the clock's own jitter. */
const BUDGETS = /** @type {const} */ ({
  'console.first_rows': ['ms', 150],
  'console.first_rows_again': ['ms', 150],
  'console.frame_p95': ['ms', 17],
  'console.frame_p95_sorted_by_changes': ['ms', 17],
  'console.frame_p95_scrolling': ['ms', 17],
  'console.heap': ['MB', 120],
});
const wanted = process.argv.slice(2);
const unknown = wanted.find((name) => !(name in BUDGETS));
if (unknown !== undefined) {
  console.error(`error: there is no figure "${unknown}"; there are ${Object.keys(BUDGETS).join(', ')}`);
  process.exit(2);
}
/** @param {string} name */
const wants = (name) => wanted.length === 0 || wanted.includes(name);
/** @param {keyof typeof BUDGETS} name @param {number} exact @param {object} more */
const line = (name, exact, more) => {
  const [unit, budget] = BUDGETS[name];
  const value = Math.round(exact * 10) / 10;
  console.log(
    JSON.stringify({ name, value, unit, budget, within: value <= budget, context: { ...context, ...more } }),
  );
};
/** @param {number[]} values @param {number} share */
const quantile = (values, share) => {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
};

const browser = await launch();
const fake = await startFake({ scenario: 'many' });
try {
  const page = await browser.newPage({ viewport: { width: 1280, height: 800 } });
  await page.goto(`${fake.url}/#/home`);
  await page.getByRole('heading', { level: 1 }).waitFor();

  // From the click to the frame that shows rows: when nothing of the cluster was read yet, and coming back. The first
  // round also warms the stand-in and is left out.
  for (const name of /** @type {const} */ (['console.first_rows', 'console.first_rows_again'])) {
    if (!wants(name)) continue;
    const opened = [];
    for (let round = 0; round <= ROUNDS; round += 1) {
      await page.evaluate(() => (location.hash = '#/settings'));
      if (name === 'console.first_rows') await page.reload();
      await page.getByRole('heading', { level: 1 }).waitFor();
      await page.waitForTimeout(600);
      opened.push(
        await page.evaluate(
          () =>
            new Promise((resolve) => {
              const from = performance.now();
              const look = () => {
                if (document.querySelector('[role=gridcell]')) resolve(performance.now() - from);
                else requestAnimationFrame(look);
              };
              location.hash = '#/cluster/pods';
              requestAnimationFrame(look);
            }),
        ),
      );
    }
    line(name, quantile(opened.slice(1), 0.5), {
      rounds: ROUNDS,
      best_ms: Math.round(Math.min(...opened)),
    });
  }

  // Frames while pods change, without and with a person scrolling; sorted by what changes, which is the hardest.
  for (const [name, sort, scrolls] of /** @type {const} */ ([
    ['console.frame_p95', 'name', false],
    ['console.frame_p95_sorted_by_changes', '-cpu', false],
    ['console.frame_p95_scrolling', 'name', true],
  ])) {
    if (!wants(name)) continue;
    await page.evaluate((by) => (location.hash = `#/cluster/pods?sort=${by}`), sort);
    await page.locator('[role=gridcell]').first().waitFor();
    const churn = setInterval(() => (fake.state.churn += CHANGES / 4), 250);
    const { frames, longest } = await page.evaluate(
      ({ ms, scrolls: moving }) =>
        new Promise((resolve) => {
          const times = [];
          const box = document.querySelector('[role=grid]');
          const from = performance.now();
          let last = from;
          const tick = (now) => {
            times.push(now - last);
            last = now;
            if (moving && box) box.scrollTop += 90;
            if (now - from < ms) requestAnimationFrame(tick);
            else resolve({ frames: times.slice(1), longest: Math.max(...times.slice(1)) });
          };
          requestAnimationFrame(tick);
        }),
      { ms: WATCH_MS, scrolls },
    );
    clearInterval(churn);
    line(name, quantile(frames, 0.95), {
      changes_per_second: CHANGES,
      frames: frames.length,
      late_share: Math.round((frames.filter((ms) => ms > 17.5).length / frames.length) * 1000) / 1000,
      longest_ms: Math.round(longest),
    });
  }
  const heap = await page.evaluate(() => /** @type {any} */ (performance).memory?.usedJSHeapSize ?? 0);
  if (wants('console.heap')) line('console.heap', heap / 1024 / 1024, {});
} finally {
  await browser.close();
  await fake.close();
}
