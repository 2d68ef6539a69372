/** Tells whether a text in small letters has all the words that are looked for; where none are, every text has. */
export function seeking(search: string): (text: string) => boolean {
  const words = search.toLowerCase().split(/\s+/).filter(Boolean);
  return (text) => words.every((word) => text.includes(word));
}
