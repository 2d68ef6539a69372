import { afterEach, describe, expect, test, vi } from 'vitest';
import { leastOf, Order, shownColumns } from '../../packages/kit/src/order';
import { recall, remember } from '../../packages/platform/src/keep';

interface Row {
  id: string;
  use: number;
}
const id = (row: Row) => row.id;

describe('the order of rows', () => {
  test('texts as people order them, numbers by size, both ways', () => {
    const rows = ['b10', 'b9', 'a'].map((name, use) => ({ id: name, use }));
    const order = new Order<Row>();
    expect(order.sort(rows, id, id, 'id', false).map(id)).toEqual(['a', 'b9', 'b10']);
    expect(order.sort(rows, id, id, 'id', true).map(id)).toEqual(['b10', 'b9', 'a']);
    expect(order.sort(rows, id, ({ use }) => use, 'use', false).map(id)).toEqual(['b10', 'b9', 'a']);
  });
  test('from the last order on it is the same as from none, with rows that came, went and changed', () => {
    const kept = new Order<Row>();
    let seed = 7;
    const random = () => (seed = (seed * 48271) % 2147483647) / 2147483647;
    let rows = Array.from({ length: 300 }, (_, at) => ({ id: `r${at}`, use: Math.floor(random() * 50) }));
    for (let round = 0; round < 12; round += 1) {
      rows = rows
        .filter(() => random() > 0.05)
        .map((row) => (random() > 0.8 ? { ...row, use: Math.floor(random() * 50) } : row));
      rows.push({ id: `new${round}`, use: 25 });
      const down = round % 3 === 0;
      const sorted = kept.sort(rows, id, ({ use }) => use, 'use', down);
      expect(sorted).toHaveLength(rows.length);
      expect(new Set(sorted.map(id)).size).toBe(rows.length);
      const uses = sorted.map(({ use }) => use);
      expect(uses).toEqual([...uses].sort((a, b) => (down ? b - a : a - b)));
    }
  });
  test('rows of the same name are all kept', () => {
    const order = new Order<Row>();
    const twins = [
      { id: 'x', use: 2 },
      { id: 'x', use: 1 },
    ];
    order.sort(twins, id, ({ use }) => use, 'use', false);
    expect(order.sort(twins, id, ({ use }) => use, 'use', false).map(({ use }) => use)).toEqual([1, 2]);
  });
});

describe('columns', () => {
  const columns = [
    { key: 'name', width: 'minmax(160px, 3fr)' },
    { key: 'owner', width: '100px', from: 300 },
    { key: 'age', width: '60px' },
    { key: 'node', width: 'minmax(100px, 1fr)', from: 600 },
  ];
  const keys = (width: number, choice = {}) => shownColumns(columns, width, choice).map(({ key }) => key);

  test('follow the width', () => {
    expect(keys(200)).toEqual(['name', 'age']);
    expect(keys(400)).toEqual(['name', 'owner', 'age']);
    expect(keys(700)).toEqual(['name', 'owner', 'age', 'node']);
  });
  test('give way where they would not fit, those for wide tables first', () => {
    expect(keys(310)).toEqual(['name', 'age']);
    expect(leastOf(shownColumns(columns, 310, {}))).toBeLessThanOrEqual(310);
  });
  test('that were chosen stay, those that were hidden don’t come, the first always stays', () => {
    expect(keys(200, { node: true })).toEqual(['name', 'age', 'node']);
    expect(keys(900, { owner: false, name: false })).toEqual(['name', 'age', 'node']);
  });
});

describe('what a face remembers', () => {
  afterEach(() => vi.unstubAllGlobals());

  test('comes back, and is forgotten with null', () => {
    const kept = new Map<string, string>();
    vi.stubGlobal('localStorage', {
      getItem: (key: string) => kept.get(key) ?? null,
      setItem: (key: string, value: string) => kept.set(key, value),
      removeItem: (key: string) => kept.delete(key),
    });
    remember('columns.pods', { node: true });
    expect(recall('columns.pods', {})).toEqual({ node: true });
    remember('columns.pods', null);
    expect(recall('columns.pods', 'none')).toBe('none');
    kept.set('alcove.split.pods', 'not JSON');
    expect(recall('split.pods', 460)).toBe(460);
  });
  test('is nothing where storage is forbidden, and nothing breaks', () => {
    const forbidden = () => {
      throw new DOMException('denied', 'SecurityError');
    };
    vi.stubGlobal('localStorage', { getItem: forbidden, setItem: forbidden, removeItem: forbidden });
    remember('look', { theme: 'dark' });
    expect(recall('look', null)).toBe(null);
  });
});
