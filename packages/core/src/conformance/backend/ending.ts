import { check, equal, refuses, rejection, sameBytes } from "../assert";
import { AccountedBudget, roomy } from "./budget";
import type { BackendCases } from "./fixture";
import { BUDGETS } from "./reading";
import { assertFrozen, bytesIn, everySpec, fewSpecs, State, whole } from "./state";

/** `close` and abort end reads, and memory that was lent is left alone from then on. */
export function ending({ test }: BackendCases): void {
  for (const [room, limit] of BUDGETS) {
    const budget = () => ({ device: new AccountedBudget(limit) });

    test(`refuses to read after \`close\`, with ${room}`, async (fixture) => {
      const state = await State.create(fixture, fewSpecs(fixture), 1);
      const snapshot = fixture.backend.snapshot(state.tensors, budget());
      snapshot.close();
      await refuses(
        snapshot.read([whole("a.weight", state.contents)], new Uint8Array(byteLengthOf(state, "a.weight"))),
        "a snapshot that was closed reads nothing",
      );
      await snapshot.staged;
      snapshot.close();
    });

    test(`ends pending reads at \`close\`, with ${room}`, async (fixture) => {
      const state = await State.create(fixture, everySpec(fixture), 2);
      const snapshot = fixture.backend.snapshot(state.tensors, budget());
      const ranges = [...state.contents.keys()].map((name) => whole(name, state.contents));
      const expected = bytesIn(ranges, state.contents);
      const buffers = Array.from({ length: 8 }, () => new Uint8Array(expected.byteLength));
      const reads = buffers.map((into) => snapshot.read(ranges, into));
      snapshot.close();
      const outcomes = await Promise.allSettled(reads);
      await assertLeftAlone(outcomes, buffers, expected, async () => {
        await snapshot.staged;
        await state.assertUnharmed();
      });
    });

    test(`does not read when the signal was aborted, with ${room}`, async (fixture) => {
      const state = await State.create(fixture, fewSpecs(fixture), 3);
      const snapshot = fixture.backend.snapshot(state.tensors, budget());
      const into = new Uint8Array(byteLengthOf(state, "a.weight")).fill(0xaa);
      const signal = AbortSignal.abort(new Error("too late"));
      const read = snapshot.read([whole("a.weight", state.contents)], into, signal);
      await rejection(read, "`read` with an aborted signal rejects");
      await assertFrozen(snapshot, state.contents, "an abort ends its own read only");
      const touched = into.some((byte) => byte !== 0xaa);
      check(!touched, "`read` with an aborted signal writes nothing");
      snapshot.close();
    });

    test(`leaves memory alone once an aborted read has rejected, with ${room}`, async (fixture) => {
      const state = await State.create(fixture, everySpec(fixture), 4);
      const snapshot = fixture.backend.snapshot(state.tensors, budget());
      const ranges = [...state.contents.keys()].map((name) => whole(name, state.contents));
      const expected = bytesIn(ranges, state.contents);
      const buffers = Array.from({ length: 8 }, () => new Uint8Array(expected.byteLength));
      const abort = new AbortController();
      const reads = buffers.map((into) => snapshot.read(ranges, into, abort.signal));
      const other = new Uint8Array(expected.byteLength);
      const unaborted = snapshot.read(ranges, other);
      abort.abort(new Error("the save was aborted"));
      const outcomes = await Promise.allSettled(reads);
      await assertLeftAlone(outcomes, buffers, expected, async () => {
        await unaborted;
        await assertFrozen(snapshot, state.contents, "reads go on after another was aborted");
      });
      sameBytes(other, expected, "an abort ends its own read only");
      snapshot.close();
    });
  }

  test("releases everything after reads that were aborted", async (fixture) => {
    const { backend } = fixture;
    const state = await State.create(fixture, everySpec(fixture), 5);
    const device = roomy();
    const snapshot = backend.snapshot(state.tensors, { device });
    const abort = new AbortController();
    const reads = [...state.contents].map(([name, { byteLength }]) =>
      snapshot.read([whole(name, state.contents)], new Uint8Array(byteLength), abort.signal),
    );
    abort.abort();
    equal((await Promise.allSettled(reads)).length, reads.length, "every read settles after an abort");
    snapshot.close();
    backend.close?.();
    device.assertTaken(0, "after `close` of the snapshot and the backend");
  });
}

/** A read that rejected has let go of its memory; one that was quicker than the abort is right. */
async function assertLeftAlone(
  outcomes: readonly PromiseSettledResult<void>[],
  buffers: readonly Uint8Array[],
  expected: Uint8Array,
  whileOthersGoOn: () => Promise<void>,
): Promise<void> {
  outcomes.forEach(({ status }, i) => {
    const into = buffers[i] ?? new Uint8Array();
    if (status === "fulfilled") sameBytes(into, expected, "a read that resolves is complete");
    into.fill(0xaa);
  });
  await whileOthersGoOn();
  const untouched = buffers.every((into) => into.every((byte) => byte === 0xaa));
  check(untouched, "once a read has settled, nothing is written to its `into`");
}

function byteLengthOf<T>(state: State<T>, name: string): number {
  return state.contents.get(name)?.byteLength ?? 0;
}
