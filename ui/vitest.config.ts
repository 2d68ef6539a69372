import { svelte } from '@sveltejs/vite-plugin-svelte';
import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    projects: [
      {
        plugins: [svelte({ configFile: false })],
        resolve: { conditions: ['browser'] },
        test: {
          name: 'unit',
          include: ['tests/unit/**/*.test.ts'],
          environment: 'node',
          testTimeout: 60_000,
        },
      },
      {
        test: {
          name: 'pages',
          include: ['tests/pages/**/*.test.ts'],
          environment: 'node',
          testTimeout: 60_000,
          hookTimeout: 60_000,
          // As long as a page is waited for elsewhere: a busy machine is no failure.
          expect: { poll: { timeout: 8000 } },
          // One browser at a time: the machines that run this are small.
          fileParallelism: false,
          // What the files import is read once; each starts a browser of its own.
          isolate: false,
          maxWorkers: 1,
        },
      },
    ],
  },
});
