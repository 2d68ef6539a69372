import { prefersReducedMotion } from 'svelte/motion';

/** A length of a movement in milliseconds: none for who asked for less motion. */
export const motion = (duration: number): number => (prefersReducedMotion.current ? 0 : duration);
