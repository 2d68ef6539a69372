import { browserPlatform } from './browser';
import type { Platform } from './types';

export { recall, remember } from './keep';
export type { Capability, Connection, Platform } from './types';

/** True where the page runs in Alcove's own window. */
export const inWindow = (): boolean => '__TAURI_INTERNALS__' in globalThis;

/** The platform that the page runs on. The window's code is only loaded in the window. */
export async function loadPlatform(): Promise<Platform> {
  if (inWindow()) return (await import('./tauri')).tauriPlatform();
  return browserPlatform();
}
