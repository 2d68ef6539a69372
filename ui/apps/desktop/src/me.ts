/** Who is signed in and what serves this page, as `GET /api/v1/me` tells it. */
export interface Me {
  account: { name: string; display_name: string };
  node: string;
  pod: string;
  version: string;
  kubernetes_version: string | null;
  /** What the person chose for all of Alcove; absent where the host is older, null where nothing was chosen. */
  language?: 'en' | 'zh' | null;
  theme?: 'system' | 'light' | 'dark' | 'contrast' | null;
}

/** What came of asking. */
export type Answer = { me: Me } | { refused: true } | { failed: true };

const DEADLINE_MS = 10_000;

/** Asks who is signed in. */
export async function readMe(): Promise<Answer> {
  try {
    const response = await fetch('api/v1/me', {
      credentials: 'same-origin',
      cache: 'no-store',
      signal: AbortSignal.timeout(DEADLINE_MS),
    });
    if (response.status === 401 || response.status === 403) return { refused: true };
    if (!response.ok) return { failed: true };
    return { me: (await response.json()) as Me };
  } catch {
    return { failed: true };
  }
}
