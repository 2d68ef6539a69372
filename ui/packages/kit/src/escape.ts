/** Keeps Esc to what floats: it is closed by the browser, and what lies under it stays. */
export function keepEscape(event: KeyboardEvent): void {
  if (event.key === 'Escape') event.stopPropagation();
}
