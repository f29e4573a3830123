import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    globalSetup: ['test/support/global-setup.ts'],
    // A test that hangs is ended; one that is slow beside other work is not.
    testTimeout: 60_000,
    hookTimeout: 60_000,
    // A test that only passes on the second try hides a race: it is a bug to find.
    retry: 0,
    // Two cores: more workers only take turns and make waits on conditions slower.
    maxWorkers: 2,
    pool: 'forks',
  },
});
