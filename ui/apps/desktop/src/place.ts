/** Where a window lies on the desktop. */
export interface Box {
  left: number;
  top: number;
  width: number;
  height: number;
}

/** Where a window can be snapped to. */
export type Snap = 'fill' | 'left' | 'right';

const EDGE = 12;

/** The snap that a pointer at this place asks for, on a desktop of this size. */
export function snapAt(x: number, y: number, width: number): Snap | null {
  if (y <= EDGE) return 'fill';
  if (x <= EDGE) return 'left';
  if (x >= width - EDGE) return 'right';
  return null;
}

/** The box of a snapped window. */
export function snapBox(snap: Snap, width: number, height: number): Box {
  const half = Math.round(width / 2);
  if (snap === 'left') return { left: 0, top: 0, width: half, height };
  if (snap === 'right') return { left: half, top: 0, width: width - half, height };
  return { left: 0, top: 0, width, height };
}

/** The nearest box that can be reached: its title bar stays on the desktop. */
export function kept(box: Box, width: number, height: number): Box {
  const w = Math.min(box.width, width);
  const h = Math.min(box.height, height);
  return {
    left: Math.min(Math.max(box.left, 80 - w), width - 80),
    top: Math.min(Math.max(box.top, 0), Math.max(0, height - 40)),
    width: w,
    height: h,
  };
}
