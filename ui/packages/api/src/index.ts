export type * from './gen/types';
export { Client, type LineStream } from './client';
export { ApiFailure, toFailure } from './errors';
export { readEvents, type ServerEvent } from './sse';
export { Live, type Link, type Sample } from './live.svelte';
export { LogReader, type LogState } from './log.svelte';
export { Poll } from './poll.svelte';
