/** A place in the application: the path's parts and its parameters. */
export interface Route {
  path: string[];
  query: Record<string, string>;
}

/** Reads the part of an address after `#`. What can't be decoded leads home. */
export function parseRoute(hash: string): Route {
  const [path = '', query = ''] = hash.replace(/^#/, '').split('?', 2);
  try {
    return {
      path: path.split('/').filter(Boolean).map(decodeURIComponent),
      query: Object.fromEntries(new URLSearchParams(query)),
    };
  } catch {
    return { path: [], query: {} };
  }
}

/** The address of a place; parameters that are empty are left out. */
export function href(path: string[], query: Record<string, string | null | undefined> = {}): string {
  const parameters = new URLSearchParams();
  for (const [key, value] of Object.entries(query)) if (value) parameters.set(key, value);
  const text = parameters.toString();
  return `#/${path.map(encodeURIComponent).join('/')}${text ? `?${text}` : ''}`;
}

/** The same place with some parameters changed. */
export function changed(route: Route, query: Record<string, string | null>): string {
  return href(route.path, { ...route.query, ...query });
}

/** A path from outside (a link, the tray), as a hash; null for what is not a plain path. */
export function fromOutside(path: string): string | null {
  const plain = path.replace(/^#?\/*/, '');
  if (plain.length > 500 || !/^[\w\-./%?=&~:+]*$/.test(plain)) return null;
  return `#/${plain}`;
}
