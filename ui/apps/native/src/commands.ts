import type { Command } from '@alcove/kit';
import {
  askDeleteSnapshot,
  askKill,
  askReset,
  askRestart,
  askRestore,
  askStop,
  quit,
  setAutostart,
  startRescue,
  verb,
} from './actions';
import { app } from './app.svelte';
import { askRemoveImage, images, removable } from './images';
import { holds, isOn, isStuck, LOG_SOURCES } from './machine';
import { WINDOW_KEYS } from './shortcuts';
import { maybe, t } from './text';

/** Everything that the person can do or go to now. */
export function commands(): Command[] {
  const machine = app.live.machine;
  const go = (id: string, title: string, hash: string, shortcut?: string): Command => ({
    id: `go.${id}`,
    title,
    group: t('palette.go'),
    run: () => app.go(hash),
    ...(shortcut ? { shortcut } : {}),
  });
  const act = (id: string, title: string, run: () => void, words = ''): Command => ({
    id,
    title,
    group: t('palette.machine'),
    words,
    run,
  });
  const list: Command[] = [];
  if (!machine || machine.phase === 'absent') return list;

  const { phase } = machine;
  if (holds(machine, 'PlatformReady')) {
    list.push(act('desktop', t('verb.desktop'), () => void app.openDesktop(), 'open web'));
  }
  if (phase === 'running' && machine.capabilities.suspend) {
    list.push(act('suspend', t('verb.suspend'), () => void verb('suspend'), 'sleep pause'));
  }
  if (phase === 'suspended') list.push(act('resume', t('verb.resume'), () => void verb('resume'), 'wake'));
  if (phase === 'stopped' || phase === 'failed') {
    list.push(act('start', t('verb.start'), () => void verb('start'), 'boot'));
    list.push(act('rescue', t('verb.rescue'), () => void startRescue(), 'shell repair'));
  }
  if (phase === 'running' || phase === 'starting' || isStuck(machine)) {
    list.push(act('restart', t('verb.restart_machine'), askRestart, 'reboot'));
    list.push(act('stop', t('verb.stop_machine'), askStop, 'shut down'));
  }
  if (isOn(machine)) list.push(act('kill', t('verb.kill_machine'), askKill, 'power off force'));
  if (phase === 'stopped' || phase === 'suspended') {
    list.push(
      act('snapshot', t('palette.make_snapshot'), () => app.go('#/home/snapshots?make=1'), 'copy keep'),
    );
    for (const snapshot of app.snapshots) {
      const { name } = snapshot;
      list.push(
        act(`restore.${name}`, t('palette.restore', { name }), () => askRestore(snapshot), snapshot.note),
        act(
          `delete.${name}`,
          t('palette.delete', { name }),
          () => askDeleteSnapshot(snapshot),
          snapshot.note,
        ),
      );
    }
  }
  list.push(act('reset', t('verb.reset_machine'), askReset, 'delete erase'));

  list.push(
    go('home', t('rail.home'), '#/home', 'Alt+1'),
    go('snapshots', t('home.snapshots'), '#/home/snapshots'),
    go('shell', t('home.shell'), '#/home/shell'),
    go('console', t('home.console'), '#/home/console'),
    go('logs', t('home.logs'), '#/home/logs'),
    ...LOG_SOURCES.map((source) =>
      go(
        `logs.${source}`,
        t('palette.logs', { source: t(`logs.${source}`) }),
        `#/home/logs?source=${source}`,
      ),
    ),
    go('cluster', t('rail.cluster'), '#/cluster', 'Alt+2'),
    go('nodes', t('cluster.nodes'), '#/cluster/nodes'),
    go('pods', t('cluster.pods'), '#/cluster/pods'),
    go('unwell', t('palette.unwell'), '#/cluster/pods?show=unwell'),
    go('events', t('cluster.events'), '#/cluster/events'),
    go('activity', t('rail.activity'), '#/activity', 'Alt+3'),
    go('operations', t('activity.operations'), '#/activity/operations'),
    go('failed', t('palette.failed_operations'), '#/activity/operations?result=failed'),
    go('settings', t('rail.settings'), '#/settings', 'Alt+4'),
    go('size', t('settings.machine'), '#/settings/machine'),
    go('about', t('settings.about'), '#/settings/about'),
    go('doctor', t('palette.doctor'), '#/settings/about'),
    {
      id: 'address',
      title: t('common.copy_address'),
      group: t('palette.go'),
      words: 'link url',
      run: () => void app.copyAddress(),
    },
  );
  for (const theme of ['system', 'light', 'dark', 'contrast'] as const) {
    list.push({
      id: `theme.${theme}`,
      title: t('palette.theme', { theme: t(`theme.${theme}`) }),
      group: t('palette.look'),
      run: () => void app.change({ theme }),
    });
  }
  for (const language of ['en', 'zh'] as const) {
    list.push({
      id: `language.${language}`,
      title: t('palette.language', { language: t(`language.${language}`) }),
      group: t('palette.look'),
      words: 'language 语言',
      run: () => void app.change({ language }),
    });
  }
  list.push(...policies(), ...imageCommands());
  for (const task of app.live.tasks.filter(({ cancellable, ended }) => cancellable && !ended)) {
    list.push({
      id: `cancel.${task.id}`,
      title: t('palette.cancel', { task: maybe(`task.${task.kind}`, task.kind) }),
      group: t('rail.activity'),
      run: () => void app.run(`cancel.${task.id}`, () => app.live.client.cancelTask(task.id)),
    });
  }
  list.push({
    id: 'quit',
    title: t('verb.quit'),
    group: 'Alcove',
    run: quit,
    ...(app.platform.capabilities.quit ? { shortcut: WINDOW_KEYS.quit } : {}),
  });
  return list;
}

/** Bringing an image, and deleting those that nothing needs. */
function imageCommands(): Command[] {
  const group = t('palette.machine');
  const list: Command[] = [];
  if (!app.live.tasks.some(({ kind, ended }) => kind === 'image.fetch' && !ended)) {
    list.push({
      id: 'image.bring',
      title: t('image.bring'),
      group,
      words: 'update fetch',
      run: () => app.go('#/settings/about?bring=1'),
    });
  }
  for (const entry of images.value?.images.filter(removable) ?? []) {
    const { version } = entry.manifest;
    list.push({
      id: `image.remove.${version}`,
      title: t('image.remove.label', { version }),
      group,
      run: () => askRemoveImage(entry),
    });
  }
  return list;
}

/** What happens when Alcove starts, quits, and at login: what is not so now is offered. */
function policies(): Command[] {
  const settings = app.live.settings?.settings;
  if (!settings) return [];
  const group = t('palette.setting');
  const start = settings.start === 'running' ? 'keep' : 'running';
  const list: Command[] = [
    {
      id: 'policy.start',
      title: t('palette.on_start', { choice: t(`settings.start.${start}`) }),
      group,
      run: () => void app.change({ start }),
    },
    {
      id: 'policy.quit',
      title: t('palette.on_quit', {
        choice: t(settings.suspend_on_quit ? 'settings.quit.stop' : 'settings.quit.suspend'),
      }),
      group,
      run: () => void app.change({ suspend_on_quit: !settings.suspend_on_quit }),
    },
  ];
  if (app.platform.capabilities.autostart) {
    const enabled = !settings.start_at_login;
    list.push({
      id: 'policy.login',
      title: t(enabled ? 'palette.autostart_on' : 'palette.autostart_off'),
      group,
      run: () => void setAutostart(enabled),
    });
  }
  return list;
}
