// @ts-nocheck: its shapes are those of the wire types, which its users check.
// Who is signed in.

export const me = (long, look) => ({
  ...look,
  account: {
    name: 'ada',
    display_name: long ? 'Augusta Ada King, Countess of Lovelace and first of all programmers' : 'Ada',
  },
  node: 'walnut-alcove',
  pod: 'gateway-6c9f7d5b84-x2k8p',
  version: '0.1.0',
  kubernetes_version: 'v1.34.1',
});
