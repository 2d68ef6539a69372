// @ts-nocheck: its shapes are those of the wire types, which its users check.
// How calls are answered.

/** An answer that says why there is nothing else to say. */
export const wrong = (code, status, message, hint) => ({ status, body: { code, message, hint } });

export const notFound = (message = 'There is no such resource') => wrong('not_found', 404, message, '');
