import type { Operation } from '@alcove/api';
import { bytes } from '@alcove/i18n';
import type { Tone } from '@alcove/kit';
import { seeking } from '@alcove/kit/search';
import { sentence } from './machine';
import { maybe, t } from './text';

/** The names of settings that a change names, such as `theme, machine`. */
const settingNames = (subject: string): string =>
  subject
    .split(/,\s*/)
    .filter(Boolean)
    .map((key) => maybe(`setting.${key}`, key))
    .join(t('state.join'));

/** What was done, as a sentence: what was asked, what came of it. */
export function operationWords({ what, result, subject }: Operation): string {
  const names = what === 'settings.change' ? settingNames(subject) : '';
  const done = maybe(`op.${what}.done`, '', { names });
  const asked = maybe(`op.${what}`, '');
  // What happens by itself has no words for being asked.
  if (result === 'succeeded' || !asked) return done || maybe(`task.${what}`, what);
  return maybe(`op.${result}`, `${result}: ${asked}`, { what: asked });
}

/** More about an operation: why it failed, how large a saved state is. */
export function operationMessage({ message }: Operation): string {
  const size = /^(\d+) bytes$/.exec(message)?.[1];
  if (size) return t('op.saved_in', { size: bytes(Number(size)) });
  const grown = /^(\d+) MiB$/.exec(message)?.[1];
  return grown ? t('op.grown_to', { size: bytes(Number(grown) * 1024 ** 2) }) : sentence(message);
}

/** How a result is drawn. */
export function resultTone(result: string): Tone {
  if (result === 'succeeded') return 'good';
  if (result === 'failed') return 'failed';
  return result === 'accepted' ? 'busy' : 'idle';
}

/** Which operations are looked for; empty for all. */
export interface Wanted {
  search: string;
  who: string;
  what: string;
  result: string;
}

/** The operations that fit, by all that is wanted. */
export function fitting(operations: Operation[], { search, who, what, result }: Wanted): Operation[] {
  const fits = seeking(search);
  return operations.filter((operation) => {
    if ((who && operation.who !== who) || (what && operation.what !== what)) return false;
    if (result && operation.result !== result) return false;
    if (!search.trim()) return true;
    return fits(
      `${operationWords(operation)} ${operation.message} ${operation.subject} ${operation.what}`.toLowerCase(),
    );
  });
}
