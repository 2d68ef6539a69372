/** How to reach the supervisor. */
export interface Connection {
  /** Start of every address, without a slash at its end; empty for the page's own origin. */
  base: string;
  /** Bearer token; absent where a cookie signs the page in. */
  token?: string;
  /** The instance's name, where it is known before the first call. */
  instance?: string;
}

/** What the platform can do beyond what every browser can. */
export type Capability = 'autostart' | 'quit' | 'startSupervisor' | 'chooseFolder';

/** What the pages need from what they run on. */
export interface Platform {
  /** Such as `browser` or `window`. */
  readonly name: 'browser' | 'window';
  /** What it can do; pages ask this record, never the name. */
  readonly capabilities: Readonly<Record<Capability, boolean>>;
  /** How to reach the supervisor now. */
  connection(): Promise<Connection>;
  /** Calls back when the supervisor is to be reached in another way, such as after it started anew. */
  onConnectionChanged(listener: () => void): () => void;
  /** Calls back when something outside the page (tray, link, second start) asks for a place. */
  onNavigate(listener: (path: string) => void): () => void;
  /** Opens an address outside. */
  openExternal(url: string): Promise<void>;
  /** Opens the web desktop; `ticket` makes a link that signs in once, for where the platform needs one. */
  openDesktop(ticket: () => Promise<string>): Promise<void>;
  /** The address under which the page at this place can be opened again; `base` is where the supervisor answers. */
  address(base: string, hash: string): string;
  /** Keeps a text as a file where the person wants it; false when they don't after all. */
  saveText(name: string, text: string): Promise<boolean>;
  /** Whether Alcove starts at login. */
  autostart(): Promise<boolean>;
  /** Makes Alcove start at login, or not. */
  setAutostart(enabled: boolean): Promise<void>;
  /** Quits Alcove with its machine, as the settings say. */
  quit(): Promise<void>;
  /** Starts the supervisor when it isn't running. */
  startSupervisor(): Promise<void>;
  /** Lets the person choose a folder of this computer; null when they chose none. `title` is what the dialog is called. */
  chooseFolder(title: string): Promise<string | null>;
  /** Says that the page has drawn itself, so that the window can be shown without a flash. */
  ready(): Promise<void>;
}
