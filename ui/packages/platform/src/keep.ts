/**
 * What a face remembers for itself: widths, columns, the look. It is lost without harm, and where storage is forbidden
 * nothing is remembered.
 */
export function recall<Value>(key: string, otherwise: Value): Value {
  try {
    const kept = localStorage.getItem(`alcove.${key}`);
    return kept === null ? otherwise : (JSON.parse(kept) as Value);
  } catch {
    return otherwise;
  }
}

/** Remembers a value; null forgets it. */
export function remember(key: string, value: unknown): void {
  try {
    if (value === null) localStorage.removeItem(`alcove.${key}`);
    else localStorage.setItem(`alcove.${key}`, JSON.stringify(value));
  } catch {
    // Full or forbidden: the page works without it.
  }
}

/** A name that every system takes for a file. */
export const fileName = (name: string): string => name.replace(/[^\w.-]+/g, '-');

/** Offers a text as a file; the browser puts it where downloads go. */
export function download(name: string, text: string): boolean {
  const url = URL.createObjectURL(new Blob([text, '\n'], { type: 'text/plain;charset=utf-8' }));
  const link = document.createElement('a');
  link.href = url;
  link.download = fileName(name);
  link.click();
  // The download has begun before the next task.
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
  return true;
}
