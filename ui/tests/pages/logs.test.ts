import { expect, test } from 'vitest';
import { accessibilityProblems, overflowing, visit, withBrowser } from './support';

withBrowser();

test.each([
  ['#/home/logs?source=kernel', 'Logs'],
  ['#/home/console', 'Serial console'],
])('a log that breaks off says so and goes on: %s', async (hash, name) => {
  await visit('running', { hash, width: 720, height: 520 }, async (page, fake) => {
    const log = page.getByRole('log', { name });
    await page.getByText('400 lines').waitFor();
    fake.state.logsFail = true;
    fake.cutLogs();
    await page.getByText('The log broke off: what is shown is from before').waitFor();
    await page.getByText(/Trying again/).waitFor();
    await page.getByText('The machine does not answer').waitFor();
    await page.getByText('400 lines').waitFor();
    expect(await accessibilityProblems(page)).toEqual([]);
    expect(await overflowing(page)).toEqual([]);
    fake.state.logsFail = false;
    await page.getByRole('button', { name: 'Try now' }).click();
    await page.getByText('The log broke off').waitFor({ state: 'detached' });
    fake.log('the first after');
    await log.getByText('the first after').waitFor();
  });
});

test('a log that ended says so, and is read again when the supervisor is back', async () => {
  await visit('running', { hash: '#/home/logs?source=kernel' }, async (page, fake) => {
    await page.getByText('400 lines').waitFor();
    fake.cutLogs(true);
    await page.getByText('The log has ended').waitFor();
    await page.getByRole('button', { name: 'Read it again' }).click();
    await page.getByText('The log has ended').waitFor({ state: 'detached' });
    fake.cutLogs(true);
    await page.getByText('The log has ended').waitFor();
    fake.cutStreams();
    await page.getByText('The log has ended').waitFor({ state: 'detached' });
  });
});

test('a log that can’t be read at all says why, and comes when it can', async () => {
  await visit('running', { hash: '#/home' }, async (page, fake) => {
    fake.state.logsFail = true;
    await page.getByRole('link', { name: 'Logs' }).click();
    await page.getByRole('heading', { name: 'The machine does not answer' }).waitFor();
    await page.getByText(/Trying again/).waitFor();
    fake.state.logsFail = false;
    await page.getByText('400 lines').waitFor();
  });
});
