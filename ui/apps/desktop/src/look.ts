import { setLanguage } from '@alcove/i18n';
import { recall, remember } from '@alcove/platform/keep';
import type { Me } from './me';

/** The language and the theme that the person chose; null for the system's. */
export interface Look {
  language: 'en' | 'zh' | null;
  theme: 'light' | 'dark' | 'contrast' | null;
}

const LANGUAGES: readonly unknown[] = ['en', 'zh'];
const THEMES: readonly unknown[] = ['light', 'dark', 'contrast'];

/** What is understood of a look that comes from elsewhere. */
export function lookOf({ language, theme }: Pick<Me, 'language' | 'theme'>): Look {
  return {
    language: LANGUAGES.includes(language) ? (language as Look['language']) : null,
    theme: THEMES.includes(theme) ? (theme as Look['theme']) : null,
  };
}

/** The look of the last time. */
export const keptLook = (): Look => lookOf(recall<Look | null>('look', null) ?? {});

/** Shows a look. */
export function show({ language, theme }: Look): void {
  setLanguage(language);
  if (theme) document.documentElement.dataset['theme'] = theme;
  else delete document.documentElement.dataset['theme'];
}

/** Shows what the person chose, and remembers it for the next first drawing; older hosts don't tell it. */
export function follow(me: Me): void {
  if (me.language === undefined && me.theme === undefined) return;
  const look = lookOf(me);
  show(look);
  remember('look', look);
}
