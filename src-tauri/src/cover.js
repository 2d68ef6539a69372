(words) => {
  // Laid over the pages while the machine is put away. Styles are set on the elements, so the pages' policy allows
  // them; colours are the pages' own roles where they have them.
  const id = 'alcove-quitting';
  document.getElementById(id)?.remove();
  if (!words) {
    document.body.inert = false;
    return;
  }
  const [line, note] = words;
  const cover = document.createElement('div');
  cover.id = id;
  cover.setAttribute('role', 'status');
  cover.setAttribute('aria-live', 'assertive');
  Object.assign(cover.style, {
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
  const title = document.createElement('div');
  title.textContent = line;
  Object.assign(title.style, { fontSize: '18px', fontWeight: '600' });
  const below = document.createElement('div');
  below.textContent = note;
  Object.assign(below.style, { maxWidth: '44ch', color: 'var(--text-quiet, GrayText)' });
  cover.append(title, below);
  document.body.inert = true;
  document.documentElement.append(cover);
}
