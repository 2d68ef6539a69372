import type { ApiError } from '@alcove/api';
import { language } from '@alcove/i18n';
import { maybe } from './text';

/** An error in words: what happened, more about it, what to do. */
export interface Words {
  title: string;
  text: string;
  hint: string;
}

/**
 * An error as it is shown. The supervisor's own words come first, as the command line shows them. Where they are
 * missing, or are in another language than the page, what the code means stands before them.
 */
export function errorWords(error: ApiError): Words {
  const meaning = maybe(`error.${error.code}`, error.code);
  const said = /^(HTTP \d+)?$/.test(error.message) ? '' : error.message;
  const foreign = error.code === 'supervisor_unreachable' || language() !== 'en';
  const hint = error.hint || maybe(`error.${error.code}.hint`, '');
  if (!said || foreign)
    return { title: meaning, text: error.code === 'supervisor_unreachable' ? '' : said, hint };
  return { title: said, text: '', hint };
}
