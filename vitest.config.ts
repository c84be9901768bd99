import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    // A core each: what the tests wait for most is arithmetic of one thread.
    maxWorkers: '100%',
    testTimeout: 120_000,
    // Hooks train models too.
    hookTimeout: 120_000,
  },
});
