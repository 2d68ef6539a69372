import type { Tone } from './components/Status.svelte';

/** A short message that leaves by itself, with at most one thing to do about it. */
export interface Toast {
  id: number;
  tone: Tone;
  title: string;
  text?: string;
  /** The same in English, where the words are in another language. */
  original?: string;
  action?: { label: string; run: () => void };
}

const STAYS_MS = 6000;
/** What failed stays until it is dismissed or this long, so that it can be read. */
const FAILURE_STAYS_MS = 20_000;

let counter = 0;
const list = $state<Toast[]>([]);

/** What is shown now, oldest first. */
export const toasts = (): readonly Toast[] => list;

/** Takes a message away. */
export function dismiss(id: number): void {
  const at = list.findIndex((toast) => toast.id === id);
  if (at >= 0) list.splice(at, 1);
}

/** Shows a message. */
export function toast(message: Omit<Toast, 'id'>): number {
  counter += 1;
  const id = counter;
  list.push({ ...message, id });
  if (list.length > 4) list.shift();
  setTimeout(() => dismiss(id), message.tone === 'failed' ? FAILURE_STAYS_MS : STAYS_MS);
  return id;
}
