import { Writable } from "node:stream";
import { setImmediate } from "node:timers/promises";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { AsyncCheckpointer, hostBackend, MiB } from "@holdfast/core";
import { expect, test } from "vitest";
import { tarSink } from "./index";

const HOST = 8 * MiB;
const STATE = 64 * MiB;

test("a save takes no more memory than its budget and a piece, however slow its stream is", async () => {
  setFlagsFromString("--expose-gc");
  const gc: () => void = runInNewContext("gc");
  const held = () => {
    gc();
    return process.memoryUsage().arrayBuffers;
  };
  const state = { model: { weight: new Uint8Array(STATE).fill(7) } };
  const before = held();
  let [peak, written] = [0, 0];
  const slow = () =>
    new Writable({
      write({ byteLength }: Uint8Array, _, done) {
        written += byteLength;
        peak = Math.max(peak, held() - before);
        setImmediate().then(() => done());
      },
    });
  const sink = tarSink({ open: slow });
  const checkpointer = await AsyncCheckpointer.open({ backend: hostBackend(), sink, memory: { host: HOST } });
  await checkpointer.save({ step: 1, state }).committed;
  await checkpointer.close();

  expect(state.model.weight.byteLength).toBe(STATE);
  expect(written).toBeGreaterThan(STATE);
  expect(peak).toBeGreaterThan(HOST / 2); // or it would not have been measured
  expect(peak).toBeLessThan(HOST + 3 * MiB);
});
