#!/bin/sh
# Draws the application's and the tray's icons from the brand's SVG files. Needs rsvg-convert (librsvg2-bin).
# The results are kept in the repository, so only who changes a drawing runs this.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
brand=$here/../../ui/packages/kit/src/brand
shell=$here/../../src-tauri/icons

for size in 16 24 32 48 64 128 256 512; do
  rsvg-convert --width "$size" --height "$size" "$brand/mark.svg" --output "$here/alcove-$size.png"
done
cp "$brand/mark.svg" "$here/alcove.svg"
cp "$here/alcove-128.png" "$shell/128x128.png"

# Panels are light or dark; the drawing is the same, its ink differs.
for state in running suspended busy attention; do
  for panel in light:#25211b dark:#f4efe8; do
    sed "s/currentColor/${panel#*:}/g" "$brand/tray-$state.svg" |
      rsvg-convert --width 64 --height 64 --output "$shell/tray/$state-on-${panel%%:*}.png"
  done
done
