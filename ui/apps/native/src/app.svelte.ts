import { Live, toFailure, type Language, type Settings, type Snapshot, type Theme } from '@alcove/api';
import { setLanguage } from '@alcove/i18n';
import { toast } from '@alcove/kit';
import { recall, remember, type Platform } from '@alcove/platform';
import { errorWords } from './errors';
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

  /** Carries out an operation once at a time; what goes wrong is said. */
  async run(name: string, work: () => Promise<unknown>): Promise<boolean> {
    if (this.pending[name]) return false;
    this.pending[name] = true;
    try {
      await work();
      return true;
    } catch (thrown) {
      const words = errorWords(toFailure(thrown).error);
      toast({ tone: 'failed', title: words.title, text: [words.text, words.hint].filter(Boolean).join(' ') });
      return false;
    } finally {
      this.pending[name] = false;
    }
  }

  /** Changes settings at once, with a way back. */
  async change(patch: Partial<Settings>, undo = true): Promise<void> {
    const before = this.live.settings?.settings;
    const done = await this.run('settings', async () => {
      this.live.settings = await this.live.client.patchSettings(patch);
    });
    if (!done || !undo || !before) return;
    const back = Object.fromEntries(Object.keys(patch).map((key) => [key, before[key as keyof Settings]]));
    toast({
      tone: 'good',
      title: t('settings.saved'),
      action: { label: t('settings.undo'), run: () => void this.change(back, false) },
    });
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
