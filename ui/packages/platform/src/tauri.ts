import { invoke } from '@tauri-apps/api/core';
import { listen } from '@tauri-apps/api/event';
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
      nativeNotifications: true,
      chooseFolder: true,
    },
    connection: () => invoke<Connection>('connection'),
    onConnectionChanged: (listener) => follow<unknown>('connection-changed', () => listener()),
    onNavigate: (listener) => follow<{ path: string }>('navigate', ({ path }) => listener(path)),
    openExternal: (url) => invoke('open_external', { url }),
    openDesktop: () => invoke('open_desktop'),
    notify: (title, body) => invoke('notify', { title, body }),
    autostart: () => invoke<boolean>('autostart_get'),
    setAutostart: (enabled) => invoke('autostart_set', { enabled }),
    quit: () => invoke('quit'),
    startSupervisor: () => invoke('start_supervisor'),
    chooseFolder: (title) => invoke<string | null>('choose_folder', { title }),
    ready: () => invoke('window_ready'),
  };
}
