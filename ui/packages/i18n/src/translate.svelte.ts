/** A language that the catalogues have. */
export type Language = 'en' | 'zh';
/** Texts by key. Texts may hold `{name}` for a parameter. */
export type Catalogue = Record<string, string>;
/** Values for the parameters of a text. */
export type Params = Record<string, string | number>;

/** What the browser or the system asks for, as far as the catalogues have it. */
export function systemLanguage(): Language {
  const wanted = typeof navigator === 'undefined' ? [] : navigator.languages;
  for (const tag of wanted) {
    if (tag.toLowerCase().startsWith('zh')) return 'zh';
    if (tag.toLowerCase().startsWith('en')) return 'en';
  }
  return 'en';
}

let current = $state<Language>(systemLanguage());

/** The language that is shown now; reading it in a component makes the component follow it. */
export const language = (): Language => current;

/** Changes the language of everything that is shown; null follows the system. */
export function setLanguage(next: Language | null): void {
  current = next ?? systemLanguage();
  if (typeof document !== 'undefined') document.documentElement.lang = current === 'zh' ? 'zh-CN' : 'en';
}

/** Text functions over catalogues whose keys are checked by the compiler: `zh` must have what `en` has. */
export function translator<En extends Catalogue>(en: En, zh: Record<keyof En, string>) {
  const catalogues: Record<Language, Record<keyof En, string>> = { en, zh };

  const fill = (text: string, params?: Params) =>
    params ? text.replace(/\{(\w+)\}/g, (whole, name: string) => written(params[name]) ?? whole) : text;

  const written = (value: string | number | undefined) =>
    typeof value === 'number' ? value.toLocaleString(current) : value;

  /** The text of a key. */
  const t = (key: keyof En & string, params?: Params): string => fill(catalogues[current][key], params);

  /** The text of `key.one` or `key.other`, with `{n}` written out. */
  const tn = (key: PluralKey<keyof En & string>, n: number, params?: Params): string => {
    const form = current === 'en' && n === 1 ? 'one' : 'other';
    const texts: Record<string, string> = catalogues[current];
    return fill(texts[`${key}.${form}`] ?? key, { n: n.toLocaleString(current), ...params });
  };

  /** The text of a key that comes from outside, or the fallback where the catalogues don't know it. */
  const maybe = (key: string, fallback: string, params?: Params): string => {
    const texts: Record<string, string | undefined> = catalogues[current];
    const text = Object.hasOwn(texts, key) ? texts[key] : undefined;
    return text === undefined ? fallback : fill(text, params);
  };

  return { t, tn, maybe };
}

/** Keys that have a `.one` and an `.other` form. */
type PluralKey<Key extends string> = Key extends `${infer Base}.one` ? Base : never;
