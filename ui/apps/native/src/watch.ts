import type { Phase } from '@alcove/api';
import { app } from './app.svelte';
import { errorWords } from './errors';
import { isStuck } from './machine';
import { t } from './text';

/** Tells the person outside the window what matters when the window isn't looked at. */
export function watchMachine(): () => void {
  let phase: Phase | null = app.live.machine?.phase ?? null;
  return app.live.onEvent(({ kind }) => {
    const machine = app.live.machine;
    if (kind !== 'machine' || !machine) return;
    const before = phase;
    phase = machine.phase;
    if (before === phase || !document.hidden) return;
    if (phase === 'failed') {
      const words = machine.failure ? errorWords(machine.failure.error) : null;
      void app.platform
        .notify(
          t(isStuck(machine) ? 'notify.stuck' : 'notify.failed'),
          words ? `${words.title} ${words.hint}` : '',
        )
        .catch(() => undefined);
    } else if (phase === 'running' && before === 'starting') {
      void app.platform.notify(t('notify.running'), t('notify.running_text')).catch(() => undefined);
    }
  });
}
