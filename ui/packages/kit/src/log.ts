// Escape sequences of terminals: colours, cursor moves, titles.
// eslint-disable-next-line no-control-regex
const ESCAPES = /\u001b(?:\[[0-?]*[ -/]*[@-~]|\][^\u0007\u001b]*(?:\u0007|\u001b\\)|[ -/]*[0-~])/g;

/** A line of log without escape sequences and other control characters. */
export function plainLine(line: string): string {
  // eslint-disable-next-line no-control-regex
  return line.replace(ESCAPES, '').replace(/[\u0000-\u0008\u000b-\u001f\u007f]/g, '');
}
