(shown) => {
  // Laid over the pages while the machine is put away. Styles are set on the elements, so the pages' policy allows
  // them; colours are the pages' own roles where they have them.
  const id = 'alcove-quitting';
  let cover = document.getElementById(id);
  if (!shown) {
    cover?.remove();
    document.body.inert = false;
    return;
  }
  const make = (kind, name, style) => {
    const made = document.createElement(kind);
    made.dataset.part = name;
    Object.assign(made.style, style);
    return made;
  };
  const invoke = (command) => void window.__TAURI_INTERNALS__?.invoke(command).catch(() => undefined);
  if (!cover) {
    cover = make('div', 'cover', {
      position: 'fixed',
      inset: '0',
      zIndex: '2147483647',
      display: 'flex',
      flexDirection: 'column',
      alignItems: 'center',
      justifyContent: 'center',
      gap: '8px',
      padding: '48px',
      textAlign: 'center',
      background: 'var(--ground, Canvas)',
      color: 'var(--text, CanvasText)',
      font: '13px/1.5 system-ui, sans-serif',
    });
    cover.id = id;
    // What changes every second is not read out.
    const said = make('div', 'said', { display: 'contents' });
    said.setAttribute('role', 'status');
    const quiet = { maxWidth: '44ch', color: 'var(--text-quiet, GrayText)' };
    said.append(
      make('div', 'title', { fontSize: '18px', fontWeight: '600' }),
      make('div', 'note', quiet),
    );
    const stay = make('button', 'stay', {
      marginTop: '16px',
      padding: '4px 12px',
      border: '1px solid var(--line, ButtonBorder)',
      borderRadius: '6px',
      background: 'var(--surface-raised, ButtonFace)',
      color: 'inherit',
      font: 'inherit',
    });
    stay.type = 'button';
    stay.addEventListener('click', () => invoke('stay_open'));
    cover.addEventListener('keydown', (event) => {
      if (event.key === 'Escape') invoke('stay_open');
    });
    cover.append(
      said,
      make('progress', 'share', { width: '30ch' }),
      make('div', 'doing', { ...quiet, fontVariantNumeric: 'tabular-nums' }),
      stay,
    );
    document.body.inert = true;
    document.documentElement.append(cover);
    // Keys go to what can be done here; Enter in the page before must not press it.
    cover.tabIndex = -1;
    cover.focus();
  }
  const part = (name) => cover.querySelector(`[data-part=${name}]`);
  const write = (name, text) => {
    if (part(name).textContent !== text) part(name).textContent = text;
  };
  for (const name of ['title', 'note', 'doing', 'stay']) write(name, shown[name]);
  part('share').hidden = shown.share === null;
  part('share').style.display = shown.share === null ? 'none' : '';
  part('share').value = shown.share ?? 0;
}
