import {
  Live,
  toFailure,
  type ApiError,
  type Language,
  type Settings,
  type Snapshot,
  type Task,
  type Theme,
} from '@alcove/api';
import { setLanguage } from '@alcove/i18n';
import { toast } from '@alcove/kit';
import { recall, remember, type Platform } from '@alcove/platform';
import { errorWords, together } from './errors';
import { parseRoute, type Route } from './route';
import { t } from './text';

/** A question that waits for the person's answer. */
export interface Question {
  title: string;
  text: string;
  action: string;
  danger?: boolean;
  word?: string;
  onconfirm: () => void;
}

/** A task that was begun here and has not ended. */
export interface Begun {
  /** What it is about, such as a snapshot's name. */
  subject: string;
  /** Absent until it was accepted. */
  task: Task | null;
}

/** What is said of a task that is followed. */
interface Said {
  subject?: string;
  /** What is said when it has succeeded. */
  done: string;
  /** Says what went wrong where it was asked for; false where nobody looks there any more. */
  failed?: (error: ApiError) => boolean;
}

/** What every page shares: the platform, what is known about the machine, and where we are. */
class App {
  platform!: Platform;
  live!: Live;
  route = $state.raw<Route>({ path: [], query: {} });
  palette = $state(false);
  /** Snapshots as they were when the palette was opened: it offers to restore and delete them. */
  snapshots = $state.raw<Snapshot[]>([]);
  question = $state.raw<Question | null>(null);
  /** Operations that were asked for and not answered yet. */
  pending = $state<Record<string, boolean>>({});
  /** Tasks that are followed to their end, by what was asked for. */
  begun = $state<Record<string, Begun | undefined>>({});
  /** Alcove was asked from here to end: when it is gone, that is no fault. */
  quitting = $state(false);
  /** Changes of the settings are made one after the other. */
  #saving: Promise<unknown> = Promise.resolve();
  /** The present time, once a second. */
  now = $state(Date.now());

  start(platform: Platform): void {
    this.platform = platform;
    this.live = new Live(() => platform.connection());
    this.applyLook(readLook());
    const read = () => (this.route = parseRoute(location.hash));
    read();
    addEventListener('hashchange', read);
    setInterval(() => {
      if (!document.hidden) this.now = Date.now();
    }, 1000);
    void this.live.run();
    platform.onConnectionChanged(() => this.live.reconnect());
  }

  /** Goes to a place. */
  go(hash: string, replace = false): void {
    if (replace) {
      history.replaceState(null, '', hash);
      this.route = parseRoute(hash);
    } else location.hash = hash;
  }

  /** Shows the theme and the language, and remembers them for the next first drawing. */
  applyLook({ theme, language }: { theme: Theme; language: Language | null }): void {
    if (theme === 'system') delete document.documentElement.dataset['theme'];
    else document.documentElement.dataset['theme'] = theme;
    setLanguage(language);
    remember('look', { theme, language });
  }

  /** Says what went wrong. */
  say(error: ApiError): void {
    const words = errorWords(error);
    const { title, text, hint, original } = words;
    toast({ tone: 'failed', title, text: together(text, hint), original });
  }

  /** Carries out an operation once at a time; what goes wrong is said. */
  async run(
    name: string,
    work: () => Promise<unknown>,
    failed: (error: ApiError) => void = (error) => this.say(error),
  ): Promise<boolean> {
    if (this.pending[name]) return false;
    this.pending[name] = true;
    try {
      await work();
      return true;
    } catch (thrown) {
      failed(toFailure(thrown).error);
      return false;
    } finally {
      this.pending[name] = false;
    }
  }

  /** Begins a task and follows it: it is pending until it has ended, and what came of it is said. */
  follow(name: string, begin: () => Promise<Task>, { subject = '', done, failed }: Said): Promise<boolean> {
    const work = async () => {
      this.begun[name] = { subject, task: null };
      try {
        const task = await begin();
        this.begun[name] = { subject, task };
        await this.live.ended(task);
      } finally {
        this.begun[name] = undefined;
      }
      toast({ tone: 'good', title: done });
    };
    return this.run(name, work, (error) => {
      if (!failed?.(error)) this.say(error);
    });
  }

  /** Changes settings at once, after those that were asked for before; with a way back. */
  change(patch: Partial<Settings>, undo = true): Promise<boolean> {
    const turn = this.#saving.then(() => this.#save(patch, undo));
    this.#saving = turn;
    return turn;
  }

  async #save(patch: Partial<Settings>, undo: boolean): Promise<boolean> {
    const before = this.live.settings?.settings;
    const done = await this.run('settings', async () => {
      this.live.settings = await this.live.client.patchSettings(patch);
    });
    if (!done || !undo || !before) return done;
    const back = Object.fromEntries(Object.keys(patch).map((key) => [key, before[key as keyof Settings]]));
    toast({
      tone: 'good',
      title: t('settings.saved'),
      action: { label: t('settings.undo'), run: () => void this.change(back, false) },
    });
    return done;
  }

  ask(question: Question): void {
    this.question = question;
  }

  /** Copies where we are, so that the page can be opened again or sent to oneself. */
  async copyAddress(): Promise<void> {
    await navigator.clipboard.writeText(this.platform.address(this.live.client.url(''), location.hash));
    toast({ tone: 'good', title: t('common.address_copied') });
  }

  openDesktop(): Promise<boolean> {
    return this.run('desktop', () =>
      this.platform.openDesktop(async () => (await this.live.client.ticket('desktop')).url),
    );
  }
}

function readLook(): { theme: Theme; language: Language | null } {
  const themes: Theme[] = ['system', 'light', 'dark', 'contrast'];
  const kept = recall<{ theme?: Theme; language?: Language | null } | null>('look', null);
  return {
    theme: kept?.theme && themes.includes(kept.theme) ? kept.theme : 'system',
    language: kept?.language === 'en' || kept?.language === 'zh' ? kept.language : null,
  };
}

export const app = new App();
