import type { TestRunner } from "../runner";
import { aborting } from "./aborting";
import { attempts } from "./attempts";
import { closing } from "./closing";
import { committing } from "./committing";
import { declaration } from "./declaration";
import { deleting } from "./deleting";
import { digests } from "./digests";
import { failing } from "./failing";
import { failingRanks } from "./failing-ranks";
import { runSinkCase, type SinkCases, type SinkSuite } from "./fixture";
import { ranks } from "./ranks";
import { reading } from "./reading";
import { writing } from "./writing";

/**
 * Registers the cases that every sink has to pass: those for the capabilities that it declares. A case
 * fails with the rule that was broken; one that hangs is named by the runner's own time limit.
 */
export function sinkConformance(runner: TestRunner, suite: SinkSuite): void {
  const { name, capabilities } = suite;
  const cases: SinkCases = {
    capabilities,
    test: (title, body) => runner.test(title, () => runSinkCase(suite, body)),
  };
  const groups: [string, (cases: SinkCases) => void, boolean][] = [
    ["declaration", declaration, true],
    ["writing", writing, true],
    ["failing", failing, true],
    ["committing", committing, true],
    ["attempts", attempts, true],
    ["aborting", aborting, true],
    ["ranks", ranks, capabilities.ranks],
    ["ranks that fail", failingRanks, capabilities.ranks],
    ["reading", reading, capabilities.read],
    ["deleting", deleting, capabilities.delete],
    ["closing", closing, true],
  ];
  runner.describe(`sink conformance: ${name}`, () => {
    for (const [title, group, applies] of groups) {
      if (applies) runner.describe(title, () => group(cases));
    }
    for (const algorithm of capabilities.digests) {
      runner.describe(`digests by ${algorithm}`, () => digests(cases, algorithm));
    }
  });
}
