import type { ApiError, Check } from '@alcove/api';
import { maybe, t } from './text';
import { foreign, told } from './text/said';

/** An error in words: what happened, more about it, what to do. */
export interface Words {
  title: string;
  text: string;
  hint: string;
  /** The same in the supervisor's own words, where the page speaks another language; else empty. */
  original: string;
}

/** Several sayings as one, without those that are empty. */
export const together = (...sayings: string[]): string => sayings.filter(Boolean).join(' ');

/**
 * An error as it is shown. In English the supervisor's own words come first, as the command line shows them. Where they
 * are missing, or the page speaks another language, it is told by its code.
 */
export function errorWords(error: ApiError): Words {
  const said = /^(HTTP \d+)?$/.test(error.message) ? '' : error.message;
  const hint = maybe(`error.${error.code}.hint`, '');
  // What nobody answered was put into words here, or by the browser.
  const own = error.code === 'supervisor_unreachable';
  if (foreign()) {
    return {
      title: maybe(`error.${error.code}`, t('error.internal')),
      text: '',
      hint: told(`error.${error.code}.hint`) || hint,
      original: own ? '' : together(said, error.hint),
    };
  }
  if (!said || own) {
    return {
      title: maybe(`error.${error.code}`, error.code),
      text: '',
      hint: error.hint || hint,
      original: '',
    };
  }
  return { title: said, text: '', hint: error.hint || hint, original: '' };
}

/** A check of this computer in words. */
export function checkWords({ id, status, title, message, hint }: Check): Words {
  const name = told(`check.${id}`);
  if (!foreign() || !name) return { title, text: message, hint: status === 'ok' ? '' : hint, original: '' };
  return {
    title: name,
    text: told(`check.${id}.${status}`),
    hint: status === 'ok' ? '' : told(`check.${id}.${status}.hint`),
    original: together(message, status === 'ok' ? '' : hint),
  };
}
