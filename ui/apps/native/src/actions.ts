import { toFailure, type MachineSetup, type Snapshot, type Task } from '@alcove/api';
import { dateTime } from '@alcove/i18n';
import { toast } from '@alcove/kit';
import { app } from './app.svelte';
import type { mainAction } from './machine';
import { t } from './text';

type Simple = 'start' | 'suspend' | 'resume' | 'stop' | 'restart' | 'kill';

/** Asks for a change of the machine. How far it is, its phase shows; a failure that it doesn't show is said. */
export function verb(name: Simple, body: Record<string, unknown> = {}): Promise<boolean> {
  return app.run(name, async () => {
    sayIfFailed(await app.live.client.verb(name, name === 'start' ? { rescue: false, ...body } : body));
  });
}

/** Says why a task failed, unless another wish took its place or the machine's page tells it at length. */
function sayIfFailed(task: Task, failed?: () => void): void {
  app.live.ended(task).catch((thrown: unknown) => {
    const { error } = toFailure(thrown);
    failed?.();
    const told = app.live.machine?.phase === 'failed';
    if (!told && error.code !== 'cancelled' && error.code !== 'not_found') app.say(error);
  });
}

/** Does the main thing that can be done with the machine now; shutting down is asked about first. */
export function act(action: NonNullable<ReturnType<typeof mainAction>>): void {
  if (action === 'stop') askStop();
  else void verb(action);
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
    onconfirm: () =>
      void app.follow('reset', () => app.live.client.verb('reset', { confirm: instance }), {
        done: t('done.reset'),
      }),
  });
}

/** Puts a snapshot in the machine's place, after asking. */
export function askRestore(snapshot: Snapshot): void {
  app.ask({
    title: t('ask.restore', { name: snapshot.name }),
    text: t('ask.restore.text', { at: dateTime(snapshot.created) }),
    action: t('snapshots.restore'),
    danger: true,
    onconfirm: () =>
      void app.follow('restore', () => app.live.client.restore(snapshot.name), {
        subject: snapshot.name,
        done: t('done.restore', { name: snapshot.name }),
      }),
  });
}

export function askDeleteSnapshot(snapshot: Snapshot): void {
  app.ask({
    title: t('ask.delete', { name: snapshot.name }),
    text: t('ask.delete.text'),
    action: t('snapshots.delete'),
    danger: true,
    onconfirm: () =>
      void app.follow('delete', () => app.live.client.deleteSnapshot(snapshot.name), {
        subject: snapshot.name,
        done: t('done.delete', { name: snapshot.name }),
      }),
  });
}

/** Ends the supervisor from where no window does it, with the machine put to rest as the settings say. */
function askQuit(): void {
  const suspend = app.live.settings?.settings.suspend_on_quit ?? true;
  app.ask({
    title: t('ask.quit'),
    text: t(suspend ? 'ask.quit.suspend' : 'ask.quit.stop'),
    action: t('verb.quit'),
    onconfirm: () =>
      void app.run('quit', async () => {
        const resting = await app.live.client.quit();
        app.quitting = true;
        if (resting) sayIfFailed(resting, () => (app.quitting = false));
      }),
  });
}

/** Quits Alcove: its own window does it, with its progress; elsewhere it is asked about first. */
export function quit(): void {
  if (app.platform.capabilities.quit) void app.run('quit', () => app.platform.quit());
  else askQuit();
}

/** Makes Alcove start at login, or not; with a way back. */
export async function setAutostart(enabled: boolean): Promise<boolean> {
  const done = await app.run('autostart', () => app.platform.setAutostart(enabled));
  if (!done) return false;
  if (!(await app.change({ start_at_login: enabled }, false))) {
    // What the system does and what is saved must not differ.
    await app.platform.setAutostart(!enabled).catch(() => undefined);
    return false;
  }
  toast({
    tone: 'good',
    title: t('settings.saved'),
    action: { label: t('settings.undo'), run: () => void setAutostart(!enabled) },
  });
  return true;
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
