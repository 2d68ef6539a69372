// @ts-nocheck: its shapes are those of the wire types, which its users check.
// What can be shown.

/**
 * @typedef {'absent' | 'blocked' | 'booting' | 'slow' | 'bootfail' | 'running' | 'trouble' | 'failed' | 'stuck'
 *   | 'suspended' | 'suspending' | 'slowsuspend' | 'stopping' | 'slowstop' | 'stopped' | 'noimage' | 'nosource' | 'refused'
 *   | 'dead' | 'many' | 'empty' | 'long'} Scenario
 */

const PHASES = {
  absent: 'absent',
  blocked: 'absent',
  noimage: 'absent',
  nosource: 'absent',
  booting: 'starting',
  slow: 'starting',
  bootfail: 'starting',
  failed: 'failed',
  stuck: 'failed',
  suspending: 'suspending',
  slowsuspend: 'suspending',
  suspended: 'suspended',
  stopping: 'stopping',
  slowstop: 'stopping',
  stopped: 'stopped',
};

/** The machine's phase in a scenario, to begin with. */
export const phaseOf = (scenario) => PHASES[scenario] ?? 'running';

/** The instance's name. */
export const instanceOf = (scenario) =>
  scenario === 'long' ? 'the-machine-of-the-second-study-upstairs-under-the-roof' : 'default';
