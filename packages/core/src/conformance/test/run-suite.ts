/** Runs a suite without a test runner, to test the suite itself. */
import { messageOf } from "../../errors";
import type { TestRunner } from "../runner";

interface Case {
  readonly title: string;
  readonly body: () => Promise<void>;
}

/** The cases that `register` registers, in order. */
export function casesOf(register: (runner: TestRunner) => void): Case[] {
  const cases: Case[] = [];
  register({
    describe: (_, body) => body(),
    test: (title, body) => cases.push({ title, body }),
  });
  return cases;
}

/** What the cases failed with, until one failed with a message that `rule` matches. */
export async function failuresUntil(rule: RegExp, cases: readonly Case[]): Promise<string[]> {
  const failures: string[] = [];
  for (const { title, body } of cases) {
    const message = await body().then(() => undefined, messageOf);
    if (message !== undefined) failures.push(`${title}: ${message}`);
    if (message !== undefined && rule.test(message)) break;
  }
  return failures;
}
