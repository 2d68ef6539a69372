import { svelte } from '@sveltejs/vite-plugin-svelte';
import { defineConfig } from 'vite';

// Paths are relative, so that the result can be served from anywhere and embedded in a binary. Nothing inline
// is written into the page: its content security policy allows scripts from its own origin only.
export default defineConfig({
  base: './',
  plugins: [svelte({ configFile: false })],
  build: {
    target: 'es2022',
    modulePreload: { polyfill: false },
    assetsInlineLimit: 0,
    reportCompressedSize: false,
    chunkSizeWarningLimit: 900,
  },
});
