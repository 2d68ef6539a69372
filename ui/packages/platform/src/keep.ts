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

/** Offers a text as a file; browser and window put it where downloads go. */
export function saveText(name: string, text: string): void {
  const url = URL.createObjectURL(new Blob([text, '\n'], { type: 'text/plain;charset=utf-8' }));
  const link = document.createElement('a');
  link.href = url;
  link.download = name.replace(/[^\w.-]+/g, '-');
  link.click();
  // The download has begun before the next task.
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
