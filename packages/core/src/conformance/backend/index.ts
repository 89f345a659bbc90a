import type { TestRunner } from "../runner";
import { budgeting } from "./budgeting";
import { crowding } from "./crowding";
import { describing } from "./describing";
import { ending } from "./ending";
import { type BackendCases, type BackendSuite, runBackendCase } from "./fixture";
import { freezing } from "./freezing";
import { reading } from "./reading";
import { restoring } from "./restoring";

/**
 * Registers the cases that every backend has to pass. A case fails with the rule that was broken; one
 * that hangs is named by the runner's own time limit.
 */
export function backendConformance<T>(runner: TestRunner, suite: BackendSuite<T>): void {
  const cases: BackendCases = {
    test: (title, body) => runner.test(title, () => runBackendCase(suite, body)),
  };
  const groups = { describing, reading, freezing, budgeting, ending, restoring, crowding };
  runner.describe(`backend conformance: ${suite.name}`, () => {
    for (const [title, group] of Object.entries(groups)) runner.describe(title, () => group(cases));
  });
}
