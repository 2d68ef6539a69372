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

/** Makes the machine and starts it. */
export async function createAndStart(
  setup: MachineSetup,
  about: {
    display_name: string;
    language: 'en' | 'zh' | null;
    theme: 'system' | 'light' | 'dark' | 'contrast';
  },
): Promise<boolean> {
  app.firstRun = true;
  const done = await app.run('create', async () => {
    const { client } = app.live;
    app.live.settings = await client.patchSettings(about);
    await client.create(setup);
    const machine = await client.machine();
    if (machine.phase === 'stopped' || machine.phase === 'absent')
      await client.verb('start', { rescue: false });
    await app.live.refresh();
  });
  if (done) app.go('#/home');
  else app.firstRun = false;
  return done;
}
