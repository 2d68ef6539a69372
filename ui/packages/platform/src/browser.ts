import { download } from './keep';
import type { Platform } from './types';

const nothing = () => () => undefined;

/** A plain browser: same origin, signed in by a cookie. */
export function browserPlatform(): Platform {
  return {
    name: 'browser',
    capabilities: {
      autostart: false,
      quit: false,
      startSupervisor: false,
      chooseFolder: false,
    },
    connection: () => Promise.resolve({ base: '' }),
    onConnectionChanged: nothing,
    onNavigate: nothing,
    openExternal: (url) => {
      window.open(url, '_blank', 'noopener,noreferrer');
      return Promise.resolve();
    },
    openDesktop: async (ticket) => {
      // The tab is opened before the ticket is asked for: a browser allows it only while the click is handled.
      const tab = window.open('', '_blank');
      try {
        const url = await ticket();
        if (tab) tab.location.replace(url);
        else window.location.assign(url);
      } catch (error) {
        tab?.close();
        throw error;
      }
    },
    address: (base, hash) => `${base || location.origin}/${hash}`,
    saveText: (name, text) => Promise.resolve(download(name, text)),
    autostart: () => Promise.resolve(false),
    setAutostart: () => Promise.resolve(),
    quit: () => Promise.resolve(),
    startSupervisor: () => Promise.resolve(),
    chooseFolder: () => Promise.resolve(null),
    ready: () => Promise.resolve(),
  };
}
