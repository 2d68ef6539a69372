import { language } from './translate.svelte';

/** Bytes in binary units with at most three digits: `1.4 GB`, as people call them. */
export function bytes(value: number): string {
  const units = ['B', 'KB', 'MB', 'GB', 'TB', 'PB'];
  let amount = Math.max(0, value);
  let unit = 0;
  while (amount >= 999.5 && unit < units.length - 1) {
    amount /= 1024;
    unit += 1;
  }
  const digits = unit === 0 || amount >= 99.95 ? 0 : 1;
  const text = amount.toFixed(digits);
  return `${digits ? text.replace(/\.0$/, '') : text} ${units[unit] ?? ''}`;
}

/** A share of 1 as a whole percentage. */
export function percent(share: number): string {
  return `${Math.round(Math.min(1, Math.max(0, share)) * 100)}%`;
}

const names = {
  en: { d: ' d', h: ' h', min: ' min', s: ' s' },
  zh: { d: ' 天', h: ' 小时', min: ' 分钟', s: ' 秒' },
};

/**
 * A length of time, short: `2.4 s`, `12 s`, `3 min 5 s`, `2 h 10 min`, `5 d 3 h`. While it is `going` on it is told in
 * whole seconds.
 */
export function duration(seconds: number, going = false): string {
  const name = names[language()];
  const value = Math.max(0, seconds);
  if (value < 9.95 && !going) return `${(Math.floor(value * 10) / 10).toFixed(1)}${name.s}`;
  if (value < 60) return `${Math.floor(value)}${name.s}`;
  const whole = Math.floor(value);
  const two = (big: number, bigName: string, small: number, smallName: string) =>
    small > 0 ? `${big}${bigName} ${small}${smallName}` : `${big}${bigName}`;
  if (whole < 3600) return two(Math.floor(whole / 60), name.min, whole % 60, name.s);
  if (whole < 86_400) return two(Math.floor(whole / 3600), name.h, Math.floor((whole % 3600) / 60), name.min);
  return two(Math.floor(whole / 86_400), name.d, Math.floor((whole % 86_400) / 3600), name.h);
}

const shortNames = { en: { d: 'd', h: 'h', m: 'm', s: 's' }, zh: { d: '天', h: '时', m: '分', s: '秒' } };

/** A length of time with one unit, for tables: `4d`, `3h`, `12m`, `8s`. */
export function age(seconds: number): string {
  const name = shortNames[language()];
  const value = Math.max(0, Math.floor(seconds));
  if (value < 120) return `${value}${name.s}`;
  if (value < 7200) return `${Math.floor(value / 60)}${name.m}`;
  if (value < 172_800) return `${Math.floor(value / 3600)}${name.h}`;
  return `${Math.floor(value / 86_400)}${name.d}`;
}

/** The seconds from an RFC 3339 time to `now` (milliseconds since 1970); 0 for what can't be read. */
export function since(at: string, now: number): number {
  const then = Date.parse(at);
  return Number.isNaN(then) ? 0 : Math.max(0, (now - then) / 1000);
}

const formatters = new Map<string, Intl.DateTimeFormat>();

function formatter(options: Intl.DateTimeFormatOptions): Intl.DateTimeFormat {
  const key = language() + JSON.stringify(options);
  let found = formatters.get(key);
  if (!found) {
    found = new Intl.DateTimeFormat(language() === 'zh' ? 'zh-CN' : 'en-GB', options);
    formatters.set(key, found);
  }
  return found;
}

/** The date and time of an RFC 3339 time, in the person's zone. */
export function dateTime(at: string): string {
  const then = Date.parse(at);
  if (Number.isNaN(then)) return at;
  return formatter({ dateStyle: 'medium', timeStyle: 'short' }).format(then);
}

/** The time of day of an RFC 3339 time, with seconds. */
export function clock(at: string): string {
  const then = Date.parse(at);
  return Number.isNaN(then) ? at : clockTime(then);
}

/** The time of day, with seconds; `then` in milliseconds since 1970. */
export function clockTime(then: number): string {
  return formatter({ hour: '2-digit', minute: '2-digit', second: '2-digit', hour12: false }).format(then);
}

/** A day in words, and a time of day, for the web desktop's clock. */
export function dayAndTime(at: number): { day: string; time: string } {
  return {
    day: formatter({ weekday: 'long', day: 'numeric', month: 'long' }).format(at),
    time: formatter({ hour: '2-digit', minute: '2-digit', hour12: false }).format(at),
  };
}

/** How long ago, in words: `just now`, `5 minutes ago`. */
export function ago(at: string, now: number): string {
  const seconds = since(at, now);
  const words = new Intl.RelativeTimeFormat(language() === 'zh' ? 'zh-CN' : 'en', { numeric: 'auto' });
  if (seconds < 45) return words.format(0, 'second');
  if (seconds < 3570) return words.format(-Math.max(1, Math.round(seconds / 60)), 'minute');
  if (seconds < 84_600) return words.format(-Math.max(1, Math.round(seconds / 3600)), 'hour');
  return words.format(-Math.max(1, Math.round(seconds / 86_400)), 'day');
}
