export {
  language,
  setLanguage,
  systemLanguage,
  translator,
  type Language,
  type Catalogue,
  type Params,
} from './translate.svelte';
export * from './format';
