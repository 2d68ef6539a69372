import { age, bytes, since } from '@alcove/i18n';
import type { Column } from '@alcove/kit';
import { app } from './app.svelte';
import { t } from './text';

/** How wide a column is, and in how wide a table it is shown. */
type Track = Pick<Column<unknown>, 'width' | 'from'>;

/** A number that may be unknown; what is unknown stands before the least. */
const number = <Row>(
  key: string,
  title: string,
  of: (row: Row) => number | null,
  words: (value: number) => string,
  track: Track,
): Column<Row> => ({
  key,
  title,
  end: true,
  text: (row) => {
    const value = of(row);
    return value === null ? '–' : words(value);
  },
  order: (row) => of(row) ?? -1,
  ...track,
});

/** What is used of the processors, in thousandths of one; `words` says them. */
export const cpuColumn = <Row extends { cpu_used_m: number | null }>(
  words: (thousandths: number) => string,
  track: Track,
): Column<Row> => number('cpu', t('col.cpu'), (row) => row.cpu_used_m, words, track);

/** What is used of the memory. */
export const memoryColumn = <Row extends { memory_used_bytes: number | null }>(track: Track): Column<Row> =>
  number('memory', t('col.memory'), (row) => row.memory_used_bytes, bytes, track);

/** How long ago something was made, the newest first. */
export const ageColumn = <Row extends { created: string }>(track: Track): Column<Row> => ({
  key: 'age',
  title: t('col.age'),
  end: true,
  text: (row) => age(since(row.created, app.now)),
  order: (row) => -Date.parse(row.created),
  ...track,
});
