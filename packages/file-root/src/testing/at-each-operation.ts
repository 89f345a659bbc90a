/** Takes a fault to each operation of something in turn. */
import { describeOwner, type Owner } from "../owner";

/** An owner of this machine whose process is gone: pids end at 2^22 there. */
export async function deadOwner(): Promise<Owner> {
  return { ...(await describeOwner()), pid: 2 ** 22 + 1, started: "1" };
}

export function outcomeOf(work: Promise<unknown>): Promise<unknown> {
  return work.then(
    () => undefined,
    (error: unknown) => error,
  );
}

/** Runs `body` with a fault at operation 0, 1, 2 … until there was none to make. */
export async function atEachOperation(body: (index: number) => Promise<{ faults: number }>): Promise<number> {
  for (let index = 0; ; index++) {
    if ((await body(index)).faults === 0) return index;
  }
}
