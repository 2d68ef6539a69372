// Under the locale C, WebKitGTK gives `C` as the person's language, which Intl refuses. uPlot makes a number format of it
// as it is loaded, so this has to be imported before it.
try {
  Intl.getCanonicalLocales(navigator.language);
} catch {
  Object.defineProperty(navigator, 'language', { value: 'en', configurable: true });
}
