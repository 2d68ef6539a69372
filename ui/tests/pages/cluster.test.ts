import { describe, expect, test } from 'vitest';
import { settled, visit, withBrowser } from './support';

withBrowser();

describe('ten thousand pods', () => {
  test('only what is seen is drawn, and the keys reach the last one', async () => {
    await visit('many', { hash: '#/cluster/pods' }, async (page) => {
      await page.getByText('10,000 pods', { exact: true }).waitFor();
      expect(await page.getByRole('grid').getAttribute('aria-rowcount')).toBe('10001');
      expect(await page.getByRole('row').count()).toBeLessThan(80);
      await page.getByRole('row').nth(1).focus();
      await page.keyboard.press('End');
      await page.waitForFunction(() => document.activeElement?.getAttribute('aria-rowindex') === '10001');
      await page.keyboard.press('ArrowUp');
      await page.waitForFunction(() => document.activeElement?.getAttribute('aria-rowindex') === '10000');
      await page.keyboard.press('Enter');
      await page.waitForURL(/#\/cluster\/pods\/team-\d+\/worker-/);
      await page.keyboard.press('Escape');
      await page.waitForURL(/#\/cluster\/pods(\?|$)/);
    });
  });
  test('each letter typed into the filter is drawn with the next frame', async () => {
    await visit('many', { hash: '#/cluster/pods' }, async (page) => {
      await page.getByText('10,000 pods', { exact: true }).waitFor();
      await page.getByRole('searchbox').focus();
      const drawn = await page.evaluate(async () => {
        const input = document.activeElement as HTMLInputElement;
        const counts: (string | null | undefined)[] = [];
        for (const text of ['worker-0', 'worker-00', 'worker-000', 'worker-0004']) {
          input.value = text;
          input.dispatchEvent(new Event('input', { bubbles: true }));
          await new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve)));
          counts.push(document.querySelector('.filter [aria-live]')?.textContent);
        }
        return counts;
      });
      expect(drawn.at(-1)).toBe('10 of 10,000 pods');
      expect(new Set(drawn).size).toBe(4);
    });
  });
});

describe('a pod', () => {
  test('its address with tab, container and search can be copied and reopened', async () => {
    const hash = '#/cluster/pods/default/photos-0?tab=logs&container=thumbnails&find=warning';
    await visit('trouble', { hash }, async (page) => {
      await page.getByText('10 lines').waitFor();
      expect(await page.getByRole('combobox', { name: 'Container' }).inputValue()).toBe('thumbnails');
      await page.getByRole('log').getByText('thumbnails[212]').first().waitFor();
    });
  });
  test('a log that isn’t there says why, and is not drawn as empty', async () => {
    await visit('trouble', { hash: '#/cluster/pods/default/photos-0?tab=logs' }, async (page) => {
      await page.getByText('400 lines').waitFor();
      await page.getByRole('checkbox', { name: 'Before the last restart' }).check();
      await page.getByRole('heading', { name: 'This container has not restarted' }).waitFor();
    });
  });
  test('shows its own events only', async () => {
    await visit('trouble', { hash: '#/cluster/pods/default/photos-0?tab=events' }, async (page) => {
      await page.getByText('Back-off restarting failed container').waitFor();
      expect(await page.getByText('Insufficient memory').count()).toBe(0);
    });
  });
  test('that is gone says so', async () => {
    await visit('running', { hash: '#/cluster/pods/default/was-here' }, async (page) => {
      await page.getByRole('heading', { name: 'This pod is gone' }).waitFor();
    });
  });
});

describe('lists', () => {
  test('filters, namespaces and order stand in the address', async () => {
    await visit('trouble', { hash: '#/cluster/pods' }, async (page) => {
      await settled(page);
      await page.getByRole('combobox', { name: 'Status' }).selectOption('unwell');
      await page.getByText('3 of 8 pods').waitFor();
      await page.getByRole('button', { name: 'Name sorted upwards' }).click();
      await page.waitForURL(/sort=-name/);
      expect(await page.getByRole('row').nth(1).textContent()).toContain('photos-0');
      await page.reload();
      await page.getByText('3 of 8 pods').waitFor();
    });
  });
  test('empty, failed and no match are different pictures', async () => {
    await visit('empty', { hash: '#/cluster/pods' }, async (page) => {
      await page.getByRole('heading', { name: 'No pods' }).waitFor();
    });
    await visit('trouble', { hash: '#/cluster/pods?q=nothing-like-this' }, async (page) => {
      await page.getByRole('heading', { name: 'No pod fits the filter' }).waitFor();
      await page.getByRole('button', { name: 'Clear the filter' }).click();
      await page.getByText('photos-0').waitFor();
    });
    await visit('running', { hash: '#/cluster/nodes' }, async (page, fake) => {
      await page.getByText('walnut-alcove').waitFor();
      fake.state.podsFail = true;
      await page.getByRole('link', { name: /^Pods/ }).click();
      await page.getByRole('heading', { name: 'Kubernetes does not answer' }).waitFor();
    });
  });
  test('while the machine rests the cluster offers to wake it', async () => {
    await visit('suspended', { hash: '#/cluster/pods' }, async (page) => {
      await page.getByRole('main').getByRole('button', { name: 'Resume' }).click();
      await page.getByText('coredns-7b9d4c8f6-vtq2m').waitFor();
    });
  });
});
