// @ts-nocheck: its shapes are those of the wire types, which its users check.
// What the person has set.
import { wrong } from './answers.mjs';
import { SETUP } from './machine.mjs';
import { phaseOf } from './scenarios.mjs';

/** The settings of a scenario, to begin with. */
export const settingsOf = (scenario, settings) => ({
  machine: phaseOf(scenario) === 'absent' ? null : SETUP,
  start: 'running',
  start_at_login: false,
  suspend_on_quit: true,
  theme: 'system',
  language: null,
  display_name: '',
  ...settings,
});

/** Answers the calls about settings. */
export function fakeSettings({ state, send }) {
  const view = () => ({
    settings: state.settings,
    defaults: { ...state.settings, theme: 'system', language: null, display_name: '' },
    restart_needed: state.restartNeeded,
    problem: state.worse
      ? {
          code: 'file_corrupt',
          message: 'The settings file can’t be read at line 3',
          hint: 'Mend it or move it away; the last good settings are in use.',
          details: null,
        }
      : null,
  });
  return {
    answer(method, path, _query, body) {
      if (path !== '/settings') return null;
      if (method === 'GET') return { body: view() };
      if (method !== 'PATCH') return null;
      if (state.settingsFail) {
        return wrong(
          'disk_full',
          507,
          'The settings can’t be written',
          'Free some space in your configuration folder and try again.',
        );
      }
      if (body.machine) state.restartNeeded = ['machine'];
      state.settings = { ...state.settings, ...body };
      send('settings', view());
      return { body: view() };
    },
  };
}
