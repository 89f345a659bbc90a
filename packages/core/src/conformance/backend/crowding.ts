import type { TensorRange } from "../../backend";
import { equal } from "../assert";
import { AccountedBudget } from "./budget";
import { type BackendCases, dtypesOf } from "./fixture";
import { BUDGETS } from "./reading";
import { ScatteredSource } from "./source";
import { assertReads, assertTensors, contentsOf, State, whole } from "./state";

const COUNT = 1000;
const CHUNK_BYTES = 4096;

/** Many small tensors. */
export function crowding({ test }: BackendCases): void {
  for (const [room, limit] of BUDGETS) {
    test(`saves and restores ${COUNT} small tensors, with ${room}`, async (fixture) => {
      const dtypes = dtypesOf(fixture);
      const names = Array.from({ length: COUNT }, (_, i) => `blocks.${i}.weight`);
      const specs = new Map(
        names.map((name, i) => {
          const dtype = dtypes[i % dtypes.length] ?? "F32";
          return [name, { dtype, shape: [i % 5, 4] }];
        }),
      );
      const state = await State.create(fixture, specs, 1);
      const device = new AccountedBudget(limit);
      const snapshot = fixture.backend.snapshot(state.tensors, { device });
      const chunks = packed(names.map((name) => whole(name, state.contents)));
      const rule = "many small tensors are packed into chunks";
      await Promise.all(chunks.map((ranges) => assertReads(snapshot, ranges, state.contents, rule)));
      snapshot.close();
      const saved = contentsOf(specs, 2);
      const restored = await fixture.backend.restore(state.tensors, new ScatteredSource(specs, saved, 3));
      await assertTensors(fixture, restored, saved, "`restore` gives back what was saved");
      equal(restored.size, COUNT, "`restore` gives back every tensor");
    });
  }
}

/** The ranges, cut into chunks of one size as core cuts them: a tensor may lie in two. */
function packed(ranges: readonly TensorRange[]): TensorRange[][] {
  const chunks: TensorRange[][] = [];
  let room = 0;
  for (const { name, start, end } of ranges) {
    for (let at = start; at < end; ) {
      if (room === 0) {
        chunks.push([]);
        room = CHUNK_BYTES;
      }
      const take = Math.min(room, end - at);
      chunks.at(-1)?.push({ name, start: at, end: at + take });
      at += take;
      room -= take;
    }
  }
  return chunks;
}
