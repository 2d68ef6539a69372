const collator = new Intl.Collator(undefined, { numeric: true });

/**
 * Puts rows in order. The last order is the start of the next: where a few of ten thousand rows have changed, sorting
 * is one pass instead of many.
 */
export class Order<Row> {
  #places = new Map<string, number>();
  #by: unknown = null;

  /** The rows by `key`, texts as people order them and numbers by size; `by` names the order. */
  sort(
    rows: Row[],
    id: (row: Row) => string,
    key: (row: Row) => string | number,
    by: string,
    down: boolean,
  ): Row[] {
    const start = this.#by === by ? this.#asBefore(rows, id) : rows;
    const keyed = start.map((row) => ({ row, key: key(row) }));
    keyed.sort((a, b) =>
      typeof a.key === 'number' && typeof b.key === 'number'
        ? a.key - b.key
        : collator.compare(String(a.key), String(b.key)),
    );
    const sorted = keyed.map(({ row }) => row);
    this.#by = by;
    this.#places = new Map(sorted.map((row, at) => [id(row), at]));
    return down ? sorted.reverse() : sorted;
  }

  #asBefore(rows: Row[], id: (row: Row) => string): Row[] {
    const known: Row[] = [];
    const others: Row[] = [];
    for (const row of rows) {
      const at = this.#places.get(id(row));
      if (at === undefined || known[at] !== undefined) others.push(row);
      else known[at] = row;
    }
    // Rows that went leave gaps, which a pass over the list skips.
    return [...Object.values(known), ...others];
  }
}

/** Which columns a person chose: shown or hidden by key; what is not named follows the table's width. */
export type Choice = Record<string, boolean>;

interface Placed {
  key: string;
  width: string;
  from?: number;
}

/**
 * The columns that a table of this width shows. The first one always stays: it tells the rows apart. What the person
 * chose stays as well, and is scrolled to where it doesn't fit; the others give way, those for wide tables first.
 */
export function shownColumns<Column extends Placed>(
  columns: Column[],
  width: number,
  choice: Choice,
): Column[] {
  let shown = columns.filter(
    ({ key, from }, nth) => nth === 0 || (choice[key] ?? (from === undefined || width >= from)),
  );
  const giving = shown
    .filter(({ key, from }) => from !== undefined && choice[key] === undefined)
    .sort((a, b) => (b.from ?? 0) - (a.from ?? 0));
  for (const column of giving) {
    if (leastOf(shown) <= width) break;
    shown = shown.filter((other) => other !== column);
  }
  return shown;
}

/** The least width in which columns can be read, pixels. */
export const leastOf = (columns: { width: string }[]): number =>
  columns.reduce((sum, column) => sum + leastWidth(column.width), 0);

/** The least width of a grid track, such as `minmax(120px, 2fr)` or `80px`. */
export const leastWidth = (track: string): number => Number(/(\d+)px/.exec(track)?.[1] ?? 0);
