import type { MachineSetup } from '@alcove/api';
import { app } from './app.svelte';
import { t } from './text';

type Simple = 'start' | 'suspend' | 'resume' | 'stop' | 'restart' | 'kill';

/** Asks for a change of the machine. */
export function verb(name: Simple, body: Record<string, unknown> = {}): Promise<boolean> {
  return app.run(name, () =>
    app.live.client.verb(name, name === 'start' ? { rescue: false, ...body } : body),
  );
}

/** Starts with a shell on the serial console instead of the system, and shows the console. */
export async function startRescue(): Promise<void> {
  if (await verb('start', { rescue: true })) app.go('#/home/console');
}

/** Stops, after asking when something runs. */
export function askStop(): void {
  app.ask({
    title: t('ask.stop'),
    text: t('ask.stop.text'),
    action: t('verb.stop'),
    onconfirm: () => void verb('stop'),
  });
}

export function askRestart(): void {
  app.ask({
    title: t('ask.restart'),
    text: t('ask.restart.text'),
    action: t('verb.restart'),
    onconfirm: () => void verb('restart'),
  });
}

export function askKill(): void {
  app.ask({
    title: t('ask.kill'),
    text: t('ask.kill.text'),
    action: t('verb.kill'),
    danger: true,
    onconfirm: () => void verb('kill'),
  });
}

/** Deletes the machine, after its name was typed. */
export function askReset(): void {
  const instance = app.live.machine?.instance ?? '';
  app.ask({
    title: t('ask.reset'),
    text: t('ask.reset.text'),
    action: t('verb.reset'),
    danger: true,
    word: instance,
    onconfirm: () => void app.run('reset', () => app.live.client.verb('reset', { confirm: instance })),
  });
}

/** Making the machine writes keys and an empty disk: it takes a moment, not minutes. */
const CREATE_DEADLINE_MS = 120_000;
const START_SHOWS_MS = 5000;

/** Makes the machine and starts it. */
export async function createAndStart(
  setup: MachineSetup,
  about: {
    display_name: string;
    language: 'en' | 'zh' | null;
    theme: 'system' | 'light' | 'dark' | 'contrast';
  },
): Promise<boolean> {
  const done = await app.run('create', async () => {
    const { client } = app.live;
    app.live.settings = await client.patchSettings(about);
    await client.finished(await client.create(setup), CREATE_DEADLINE_MS);
    await client.verb('start', { rescue: false });
    // The wizard stays until the boot shows, so that no stopped machine flashes up between them.
    const end = performance.now() + START_SHOWS_MS;
    while (app.live.machine?.phase !== 'starting' && performance.now() < end) {
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  });
  if (done) app.go('#/home');
  return done;
}
