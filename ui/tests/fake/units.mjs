// @ts-nocheck: its shapes are those of the wire types, which its users check.
// Sizes and times.

export const GIB = 1024 ** 3;
export const MIB = 1024 ** 2;

/** A time so many seconds ago. */
export const back = (seconds) => new Date(Date.now() - seconds * 1000).toISOString();
