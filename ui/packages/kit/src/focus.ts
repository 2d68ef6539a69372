/**
 * Remembers what has the focus. The function that is returned gives it back when what took it is gone from the page, and
 * nothing else has taken it meanwhile.
 */
export function keepFocus(): () => void {
  const before = document.activeElement;
  return () =>
    // What floats is taken off the page first.
    queueMicrotask(() => {
      const lost = document.activeElement === null || document.activeElement === document.body;
      if (lost && before instanceof HTMLElement && before.isConnected) before.focus();
    });
}
