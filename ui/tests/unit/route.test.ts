import { describe, expect, test } from 'vitest';
import { changed, fromOutside, href, parseRoute } from '../../apps/native/src/route';

test.each([
  ['', [], {}],
  ['#/home', ['home'], {}],
  [
    '#/cluster/pods/kube-system/coredns-1?tab=logs&container=a%20b',
    ['cluster', 'pods', 'kube-system', 'coredns-1'],
    { tab: 'logs', container: 'a b' },
  ],
  ['#/cluster/pods/a%2Fb/c', ['cluster', 'pods', 'a/b', 'c'], {}],
  ['#/%E0%A4%A', [], {}],
])('%s is read', (hash, path, query) => expect(parseRoute(hash)).toEqual({ path, query }));

test('an address survives being written and read', () => {
  const route = { path: ['cluster', 'pods', 'a/b', 'x?y#z'], query: { q: 'Größe & 中文', ns: 'a' } };
  expect(parseRoute(href(route.path, route.query))).toEqual(route);
});

test('parameters can be changed and left out', () => {
  const route = parseRoute('#/cluster/pods?q=a&ns=b');
  expect(changed(route, { q: null })).toBe('#/cluster/pods?ns=b');
  expect(changed(route, { sort: '-age' })).toBe('#/cluster/pods?q=a&ns=b&sort=-age');
  expect(href(['home'], { tab: '' })).toBe('#/home');
});

describe('addresses from outside', () => {
  test.each([
    ['settings/about', '#/settings/about'],
    ['/cluster/pods?ns=a', '#/cluster/pods?ns=a'],
    ['#/home', '#/home'],
  ])('%s leads to %s', (path, hash) => expect(fromOutside(path)).toBe(hash));
  test.each(['javascript:alert(1)//<', 'a"b', `x${'y'.repeat(600)}`, 'a\nb'])('%s leads nowhere', (path) =>
    expect(fromOutside(path)).toBeNull(),
  );
});
