/**
 * Whether Esc is for what floats: a dialog or a menu is open, which the browser closes, and what lies under it stays.
 * Asked by whoever closes something at Esc. Where the focus is does not matter: a menu has it only a moment after it
 * has opened.
 */
export function escapeIsTaken(): boolean {
  return document.querySelector('dialog[open], [popover="auto"]:popover-open') !== null;
}
