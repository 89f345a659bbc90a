import type { Reporter, TestModule } from "vitest/node";

/**
 * Ends a run by naming what was skipped (the names say what it needs), and with one line that any tool can
 * read: `N passed, N failed, N skipped`.
 */
export default class SummaryReporter implements Reporter {
  onTestRunEnd(modules: readonly TestModule[], unhandled: readonly unknown[]): void {
    const count = { passed: 0, failed: unhandled.length, skipped: 0 };
    const skipped: string[] = [];
    for (const module of modules) {
      const tests = [...module.children.allTests()];
      if (module.state() === "failed" && tests.length === 0) count.failed++;
      for (const test of tests) {
        const { state } = test.result();
        if (state !== "pending") count[state]++;
        if (state === "skipped") skipped.push(`SKIPPED: ${module.relativeModuleId}: ${test.fullName}\n`);
      }
    }
    // After whatever the other reporters print.
    process.once("exit", () => {
      process.stdout.write(
        `${skipped.join("")}${count.passed} passed, ${count.failed} failed, ${count.skipped} skipped\n`,
      );
    });
  }
}
