import { invoke } from '@tauri-apps/api/core';
import { listen } from '@tauri-apps/api/event';
import { fileName } from './keep';
import type { Connection, Platform } from './types';

/** Listens to an event of the shell until the returned function is called, also if that is at once. */
function follow<Payload>(event: string, listener: (payload: Payload) => void): () => void {
  let stopped = false;
  let stop: (() => void) | undefined;
  void listen<Payload>(event, (message) => {
    if (!stopped) listener(message.payload);
  }).then((unlisten) => {
    if (stopped) unlisten();
    else stop = unlisten;
  });
  return () => {
    stopped = true;
    stop?.();
  };
}

/** Alcove's own window. */
export function tauriPlatform(): Platform {
  return {
    name: 'window',
    capabilities: {
      autostart: true,
      quit: true,
      startSupervisor: true,
      chooseFolder: true,
    },
    connection: () => invoke<Connection>('connection'),
    onConnectionChanged: (listener) => follow<unknown>('connection-changed', () => listener()),
    onNavigate: (listener) => follow<{ path: string }>('navigate', ({ path }) => listener(path)),
    openExternal: (url) => invoke('open_external', { url }),
    openDesktop: () => invoke('open_desktop'),
    // A browser can't open our window's pages without being signed in; the system hands these links to the window.
    address: (_base, hash) => `alcove://open${hash.replace(/^#/, '') || '/'}`,
    saveText: (name, text) => invoke<boolean>('save_text', { name: fileName(name), text: `${text}\n` }),
    autostart: () => invoke<boolean>('autostart_get'),
    setAutostart: (enabled) => invoke('autostart_set', { enabled }),
    quit: () => invoke('quit'),
    startSupervisor: () => invoke('start_supervisor'),
    chooseFolder: (title) => invoke<string | null>('choose_folder', { title }),
    ready: () => invoke('window_ready'),
  };
}
