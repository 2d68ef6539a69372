import type { Attachment } from 'svelte/attachments';

const DELAY_MS = 450;

/** Attaches a tooltip: a few words, and the shortcut where there is one. Shown on hover and on keyboard focus. */
export function tip(text: string, shortcut?: string): Attachment<HTMLElement> {
  return (element) => {
    let bubble: HTMLElement | null = null;
    let timer: ReturnType<typeof setTimeout> | undefined;

    const show = () => {
      if (bubble || !element.isConnected) return;
      bubble = document.createElement('div');
      bubble.className = 'tip';
      bubble.popover = 'manual';
      bubble.setAttribute('aria-hidden', 'true');
      bubble.textContent = text;
      if (shortcut) {
        const keys = document.createElement('kbd');
        keys.textContent = shortcut;
        bubble.append(keys);
      }
      // Inside an open dialog the bubble has to belong to the dialog, or it would lie under it.
      (element.closest('dialog') ?? document.body).append(bubble);
      bubble.showPopover();
      const at = element.getBoundingClientRect();
      const own = bubble.getBoundingClientRect();
      const left = Math.min(Math.max(6, at.left + at.width / 2 - own.width / 2), innerWidth - own.width - 6);
      const below = at.bottom + 6 + own.height < innerHeight;
      bubble.style.left = `${left}px`;
      bubble.style.top = `${below ? at.bottom + 6 : at.top - own.height - 6}px`;
    };
    const hide = () => {
      clearTimeout(timer);
      bubble?.remove();
      bubble = null;
    };
    const soon = () => {
      clearTimeout(timer);
      timer = setTimeout(show, DELAY_MS);
    };
    const focus = () => {
      if (element.matches(':focus-visible')) soon();
    };
    element.addEventListener('pointerenter', soon);
    element.addEventListener('pointerleave', hide);
    element.addEventListener('pointerdown', hide);
    element.addEventListener('focus', focus);
    element.addEventListener('blur', hide);
    return () => {
      hide();
      element.removeEventListener('pointerenter', soon);
      element.removeEventListener('pointerleave', hide);
      element.removeEventListener('pointerdown', hide);
      element.removeEventListener('focus', focus);
      element.removeEventListener('blur', hide);
    };
  };
}
