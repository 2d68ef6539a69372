/** Something that can be done or gone to. */
export interface Command {
  id: string;
  title: string;
  /** The part of the product it belongs to. */
  group: string;
  /** Further words that it is found by. */
  words?: string;
  shortcut?: string;
  run: () => void;
}

/** How well a command answers a search; 0 for not at all. Every word has to occur, in any order. */
export function score(command: Command, search: string): number {
  const title = command.title.toLowerCase();
  const all = `${title} ${command.group.toLowerCase()} ${command.words?.toLowerCase() ?? ''}`;
  let total = 1;
  for (const word of search.toLowerCase().split(/\s+/).filter(Boolean)) {
    if (title.startsWith(word)) total += 8;
    else if (title.includes(` ${word}`)) total += 5;
    else if (title.includes(word)) total += 3;
    else if (all.includes(word)) total += 1;
    else return 0;
  }
  return total;
}
