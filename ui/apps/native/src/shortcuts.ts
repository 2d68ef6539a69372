import { app } from './app.svelte';

const PLACES = ['home', 'cluster', 'activity', 'settings'];

/** The keys that work on every page, also from inside a terminal. */
export const KEYS = { palette: 'Ctrl+K', places: 'Alt+1 … Alt+4', settings: 'Ctrl+,' } as const;
/** The keys of Alcove's own window. */
export const WINDOW_KEYS = { close: 'Ctrl+W', quit: 'Ctrl+Q' } as const;

/** What a key press asks for on every page; null where it is no shortcut. */
export function shortcut(event: KeyboardEvent): (() => void) | null {
  const command = event.ctrlKey || event.metaKey;
  if (command && !event.altKey && !event.shiftKey && event.key.toLowerCase() === 'k') {
    return () => (app.palette = !app.palette);
  }
  if (command && event.key === ',') return () => app.go('#/settings');
  if (event.altKey && !command && /^Digit[1-4]$/.test(event.code)) {
    return () => app.go(`#/${PLACES[Number(event.code.slice(5)) - 1] ?? 'home'}`);
  }
  return null;
}
