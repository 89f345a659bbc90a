import type { TensorRange } from "../../backend";
import { DTYPE_BITS } from "../../tensor";
import { check, sameBytes } from "../assert";
import { anyBytes, random, sharedMemory } from "../bytes";
import { AccountedBudget, ROOM } from "./budget";
import { type BackendCases, dtypesOf } from "./fixture";
import {
  assertFrozen,
  assertReads,
  bytesIn,
  type Contents,
  everySpec,
  fewSpecs,
  State,
  whole,
} from "./state";

/** The budgets that lead to each mode: room for everything, and for nothing. */
export const BUDGETS = [
  ["room for a copy", ROOM],
  ["no room for a copy", 0],
] as const;

/** `read` fills memory with any bytes of any tensors. */
export function reading({ test }: BackendCases): void {
  for (const [room, limit] of BUDGETS) {
    const budget = () => ({ device: new AccountedBudget(limit) });

    test(`reads every dtype, scalars, odd lengths and nothing at all, with ${room}`, async (fixture) => {
      const state = await State.create(fixture, everySpec(fixture), 1);
      const snapshot = fixture.backend.snapshot(state.tensors, budget());
      await assertFrozen(snapshot, state.contents, "a tensor reads as it is");
      const all = [...state.contents.keys()].map((name) => whole(name, state.contents));
      await assertReads(snapshot, all, state.contents, "many tensors are packed with no gap");
      await assertReads(
        snapshot,
        all.reverse(),
        state.contents,
        "ranges come in the order that was asked for",
      );
      snapshot.close();
      await state.assertUnharmed();
    });

    test(`reads ranges that start and end at any byte, with ${room}`, async (fixture) => {
      const state = await State.create(fixture, fewSpecs(fixture), 2);
      const snapshot = fixture.backend.snapshot(state.tensors, budget());
      for (let start = 0; start < 9; start++) {
        for (let end = start; end < 18; end++) {
          const range = { name: "a.weight", start, end };
          await assertReads(snapshot, [range], state.contents, `bytes ${start} to ${end} are read`);
        }
      }
      for (let seed = 0; seed < 60; seed++) {
        const ranges = someRanges(state.contents, seed);
        await assertReads(snapshot, ranges, state.contents, `ranges are packed: ${JSON.stringify(ranges)}`);
      }
      await assertReads(snapshot, [], state.contents, "no ranges fill nothing");
      snapshot.close();
    });

    test(`serves calls that overlap, with ${room}`, async (fixture) => {
      const state = await State.create(fixture, fewSpecs(fixture), 3);
      const snapshot = fixture.backend.snapshot(state.tensors, budget());
      const rule = "calls of `read` may overlap";
      const seeds = Array.from({ length: 48 }, (_, seed) => seed);
      await Promise.all(
        seeds.map((seed) => assertReads(snapshot, someRanges(state.contents, seed), state.contents, rule)),
      );
      snapshot.close();
    });

    test(`fills exactly the memory that it was lent, aligned or not, with ${room}`, async (fixture) => {
      const state = await State.create(fixture, fewSpecs(fixture), 4);
      const snapshot = fixture.backend.snapshot(state.tensors, budget());
      for (const memory of [new Uint8Array(4096), sharedMemory(4096)]) {
        for (const offset of [0, 1, 2, 3, 5, 64]) {
          const ranges = someRanges(state.contents, offset);
          const expected = bytesIn(ranges, state.contents);
          const into = memory.fill(0xaa).subarray(offset, offset + expected.byteLength);
          await snapshot.read(ranges, into);
          sameBytes(into, expected, `\`into\` may begin at any byte: ${offset}`);
          const beside = [...memory.subarray(0, offset), ...memory.subarray(offset + expected.byteLength)];
          check(
            beside.every((byte) => byte === 0xaa),
            "`read` fills `into`, and nothing beside it",
          );
        }
      }
      snapshot.close();
    });

    test(`keeps bits that are no number, with ${room}`, async (fixture) => {
      const dtypes = dtypesOf(fixture);
      const dtype = dtypes.includes("F32") ? "F32" : dtypes.find((one) => one !== "BOOL");
      if (dtype === undefined) return; // nothing but booleans, which have no such bits
      const bytes = anyBytes(48, 5);
      // Signalling and quiet NaN with payloads, negative zero, infinities, subnormals: little-endian F32.
      bytes.set([1, 0, 160, 127, 1, 2, 192, 255, 0, 0, 0, 128, 0, 0, 128, 255, 1, 0, 0, 0]);
      const tensor = await fixture.create(
        { dtype, shape: [(bytes.byteLength * 8) / DTYPE_BITS[dtype]] },
        bytes.slice(),
      );
      const snapshot = fixture.backend.snapshot(new Map([["bits", tensor]]), budget());
      const contents = new Map([["bits", bytes]]);
      await assertReads(snapshot, [whole("bits", contents)], contents, "bytes are copied, not converted");
      snapshot.close();
    });
  }
}

/** Up to eight ranges of at most 400 bytes: of any tensors, at any bytes, some of them empty. */
function someRanges(contents: Contents, seed: number): TensorRange[] {
  const next = random(seed);
  const names = [...contents.keys()];
  return Array.from({ length: next(8) + 1 }, () => {
    const name = names[next(names.length)] ?? "";
    const length = contents.get(name)?.byteLength ?? 0;
    const start = next(length + 1);
    return { name, start, end: start + next(Math.min(400, length - start) + 1) };
  });
}
