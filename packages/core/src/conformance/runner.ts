/** What a suite needs of a test runner: vitest's, Jest's, Mocha's (`it`) and node:test's functions all fit. */
export interface TestRunner {
  /** Groups the cases that `body` registers. */
  readonly describe: (title: string, body: () => void) => unknown;
  /** Registers a case; it fails if the promise of `body` rejects, or never settles. */
  readonly test: (title: string, body: () => Promise<void>) => unknown;
}
