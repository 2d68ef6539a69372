import type {
  BootReport,
  BootStep,
  Condition,
  Health,
  Machine,
  Phase,
  Task,
  TaskState,
  Transfer,
} from '@alcove/api';
import { bytes, duration, since } from '@alcove/i18n';
import type { Step, Tone } from '@alcove/kit';
import { together, type Words } from './errors';
import { maybe, t, tn } from './text';
import { foreign, told } from './text/said';

/** Logs of the machine that can be read. */
export const LOG_SOURCES = ['all', 'k3s', 'alcove-guest', 'kernel', 'serial', 'qemu', 'alcoved'] as const;
export type LogSource = (typeof LOG_SOURCES)[number];
/** What these write lies on the host: it can be read while the machine is off. */
export const ON_HOST: readonly LogSource[] = ['serial', 'qemu', 'alcoved'];

/** How far something that is brought has come, in words: `120 MB of 287 MB · 12 MB a second · 14 s left`. */
export function transferWords({
  bytes: have,
  total_bytes,
  bytes_per_second,
  seconds_left,
}: Transfer): string {
  return [
    t('common.of', { used: bytes(have), total: bytes(total_bytes) }),
    bytes_per_second === null ? '' : t('transfer.speed', { speed: bytes(bytes_per_second) }),
    seconds_left === null ? '' : t('transfer.left', { time: duration(seconds_left) }),
  ]
    .filter(Boolean)
    .join(' · ');
}

/** What a task does now, in words: a step is told by its name, what is brought by how much of it is here. */
export function taskWords(task: Task): string {
  if (task.transfer && task.message.startsWith('file:')) return transferWords(task.transfer);
  const step = /^step:(\w+)$/.exec(task.message)?.[1];
  if (step) return maybe(`step.${step}`, step);
  return foreign() ? '' : task.message;
}

/** How a phase is drawn. */
export function phaseTone(phase: Phase): Tone {
  if (phase === 'running') return 'good';
  if (phase === 'failed') return 'failed';
  if (phase === 'starting' || phase === 'suspending' || phase === 'stopping') return 'busy';
  return 'idle';
}

/** Whether the machine is on. One that was given up on may still be: it then holds memory of this computer. */
export function isOn({ phase, host_memory_bytes }: Machine): boolean {
  if (phase === 'failed') return host_memory_bytes !== null;
  return phase !== 'absent' && phase !== 'suspended' && phase !== 'stopped';
}

/** Whether the machine was given up on and is on all the same. */
export const isStuck = (machine: Machine): boolean => machine.phase === 'failed' && isOn(machine);

/** The machine's phase in a word or two. */
export const phaseWords = (machine: Machine): string =>
  t(isStuck(machine) ? 'phase.stuck' : `phase.${machine.phase}`);

/** How the machine is drawn: running with something amiss needs attention. */
export function machineTone(machine: Machine): Tone {
  const tone = phaseTone(machine.phase);
  return tone === 'good' && troubles(machine).length > 0 ? 'attention' : tone;
}

export const healthTone = (health: Health): Tone => health;

export function taskTone(state: TaskState): Tone {
  if (state === 'succeeded') return 'good';
  if (state === 'failed') return 'failed';
  if (state === 'cancelled') return 'idle';
  return 'busy';
}

/** Conditions that don't hold, while the machine should be up. */
export function troubles(machine: Machine): Condition[] {
  if (machine.phase !== 'running') return [];
  return machine.conditions.filter(({ status }) => status === 'False');
}

/** Attention first, then what can't be told, then what is well; each in the order in which it was reported. */
export function conditionsInOrder(machine: Machine): Condition[] {
  const rank = { False: 0, Unknown: 1, True: 2 };
  return machine.conditions.slice().sort((a, b) => rank[a.status] - rank[b.status]);
}

/** Words that were written as part of a sentence, as a sentence of their own. */
export const sentence = (text: string): string => text.replace(/^\p{Ll}/u, (letter) => letter.toUpperCase());

/** What a condition is called. */
export const conditionTitle = ({ type }: Condition): string => maybe(`condition.${type}`, type);

/**
 * What a condition says, and what to do. Where the page speaks another language than the machine, it is told by what the
 * condition means, and the machine's own words are the original.
 */
export function conditionWords(condition: Condition): Words {
  const [said, hint] = [sentence(condition.message), sentence(condition.hint)];
  const title = conditionTitle(condition);
  if (!foreign()) return { title, text: said, hint, original: '' };
  const key = `condition.${condition.type}.${condition.status}`;
  return { title, text: maybe(key, ''), hint: hint && told(`${key}.hint`), original: together(said, hint) };
}

/** Whether a condition holds. */
export function holds(machine: Machine | null, type: string): boolean {
  return (
    machine?.conditions.some((condition) => condition.type === type && condition.status === 'True') ?? false
  );
}

/** The main thing to do with the machine now. */
export function mainAction(machine: Machine): 'start' | 'suspend' | 'resume' | 'stop' | null {
  switch (machine.phase) {
    case 'running':
      return machine.capabilities.suspend ? 'suspend' : 'stop';
    case 'suspended':
      return 'resume';
    case 'stopped':
      return 'start';
    case 'failed':
      // What it was given up on is tried again.
      if (!isStuck(machine) || machine.desired === 'running') return 'start';
      return machine.desired === 'suspended' ? 'suspend' : 'stop';
    case 'starting':
      return 'stop';
    default:
      return null;
  }
}

/** The machine's state in a sentence or two. */
export function stateWords(machine: Machine, pods: { total: number; well: number } | null): string {
  switch (machine.phase) {
    case 'running': {
      const trouble = troubles(machine)[0];
      if (trouble) return conditionWords(trouble).text || conditionTitle(trouble);
      const parts: string[] = [];
      if (pods) {
        parts.push(
          pods.well === pods.total
            ? tn('state.pods', pods.total)
            : t('state.pods_some', { well: pods.well, total: pods.total }),
        );
      }
      if (machine.guest) {
        parts.push(t('state.memory', { memory: bytes(machine.guest.memory.used) }));
        parts.push(t('state.up', { time: duration(machine.guest.uptime_s) }));
      }
      return parts.join(t('state.join')) + (parts.length ? t('state.stop') : '');
    }
    case 'suspended':
      return machine.state_bytes
        ? t('state.suspended', { size: bytes(machine.state_bytes) })
        : t('state.suspended_plain');
    case 'failed':
      return t(isStuck(machine) ? 'state.failed_on' : 'state.failed_kept');
    case 'starting':
      return t(
        machine.boot?.steps.some(({ state }) => state === 'failed') ? 'state.stuck' : 'state.starting',
      );
    default:
      return t(`state.${machine.phase}`);
  }
}

const LONG_STOP_S = 45;
const LONG_SUSPEND_S = 30;
/** What a slow disk takes in. */
const SAVED_BYTES_A_SECOND = 100e6;

/** For how long the machine has been on its way to rest, in seconds, where that is long; else null. */
export function restsLong({ phase, since: begun, setup }: Machine, now: number): number | null {
  if (phase !== 'stopping' && phase !== 'suspending') return null;
  const saving = (setup?.memory_bytes ?? 0) / SAVED_BYTES_A_SECOND;
  const taken = since(begun, now);
  return taken > (phase === 'stopping' ? LONG_STOP_S : LONG_SUSPEND_S + saving) ? taken : null;
}

const SLOW_FACTOR = 2;
const SLOW_SLACK_MS = 8000;
const SLOW_UNKNOWN_MS = 240_000;

/** Whether a step takes much longer than it used to. */
export function slow(step: BootStep, elapsed: number): boolean {
  if (step.state !== 'running' || step.started_ms === null) return false;
  const taken = elapsed - step.started_ms;
  return taken > (step.expected_ms ? step.expected_ms * SLOW_FACTOR + SLOW_SLACK_MS : SLOW_UNKNOWN_MS);
}

/**
 * How long a boot has taken that was heard of at `at`, in milliseconds: whole seconds, so that what grows with it is drawn
 * once a second, however often there is news. An emulated machine needs the processor for its boot.
 */
export function bootElapsed(boot: BootReport, at: number, now: number): number {
  const passed = boot.finished ? 0 : Math.max(0, now - at);
  return Math.floor((boot.elapsed_ms + passed) / 1000) * 1000;
}

/**
 * The boot's steps as they are drawn after `elapsed` milliseconds. `serial` is the machine's last line on its serial
 * port: the first running step shows it while the step itself has said nothing.
 */
export function bootSteps(boot: BootReport, elapsed: number, serial = ''): Step[] {
  const speaks = boot.steps.find(({ state }) => state === 'running');
  // After a failure nothing is expected any more.
  const ended = boot.steps.some(({ state }) => state === 'failed');
  return boot.steps.map((step) => {
    const title = maybe(`step.${step.name}`, step.name);
    const isSlow = slow(step, elapsed);
    let time = '';
    if (step.started_ms !== null && step.ended_ms !== null)
      time = duration((step.ended_ms - step.started_ms) / 1000);
    else if (step.started_ms !== null && step.state === 'running')
      time = duration((elapsed - step.started_ms) / 1000, true);
    else if (step.state === 'waiting' && step.expected_ms && !ended) {
      time = t('boot.expected', { time: duration(step.expected_ms / 1000) });
    }
    const note =
      step.state === 'failed'
        ? foreign()
          ? null
          : step.message
        : step.state === 'running'
          ? (step.message ?? step.log.at(-1) ?? (step === speaks ? serial : null))
          : null;
    return { name: step.name, title, state: step.state, time, slow: isSlow, ...(note ? { note } : {}) };
  });
}

/** How far the boot is, 0 to 1: by time where earlier boots tell it, else by steps. */
export function bootShare(boot: BootReport, elapsed: number): number {
  if (boot.finished) return 1;
  if (boot.estimate_ms) return Math.min(0.97, elapsed / boot.estimate_ms);
  if (boot.steps.length === 0) return 0;
  const done = boot.steps.filter(({ state }) => state === 'done' || state === 'skipped').length;
  return Math.min(0.97, done / boot.steps.length);
}
