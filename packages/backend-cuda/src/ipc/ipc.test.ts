/** Memory of another process, which is a real one. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { TrainingProgram } from "@holdfast/cuda-stand-in";
import { afterEach, describe, expect, onTestFinished, test } from "vitest";
import { cudaBackend } from "../backend";
import {
  describeOnStandIn,
  expectBytes,
  expectNothingLeft,
  loadsDriverOf,
  pattern,
  readAll,
  sourceOf,
  TestBudget,
  thrown,
} from "../test-kit";
import { deviceUuid, openIpcEvent, openIpcMemory } from "./index";

const EXPORTER = fileURLToPath(new URL("testing/exporter.mjs", import.meta.url));
const BYTES = 100_000;
const written = Uint8Array.from({ length: BYTES }, (_, i) => i * 7);

describeOnStandIn("memory of another process", (standIn) => {
  loadsDriverOf(standIn);

  /** Its write comes late: whoever does not wait for it reads something else. */
  async function startExporter() {
    const child = spawn(process.execPath, [EXPORTER, standIn.path, String(BYTES)], {
      stdio: ["pipe", "pipe", "inherit"],
      env: { ...process.env, CUDA_STANDIN: "op_us=200000" },
    });
    const ended = once(child, "exit");
    const kill = () => {
      child.kill("SIGKILL");
      return ended;
    };
    onTestFinished(async () => {
      await kill();
    });
    const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    const next = async (): Promise<string> => (await lines.next()).value;
    const handles = JSON.parse(await next());
    return {
      memory: Buffer.from(handles.memory, "hex"),
      event: Buffer.from(handles.event, "hex"),
      kill,
      async contents() {
        child.stdin.write("read\n");
        return Buffer.from(await next(), "hex");
      },
    };
  }

  afterEach(() => {
    standIn.set({ ignored_waits: 0 });
    expectNothingLeft(standIn);
  });

  function open(exporter: { memory: Uint8Array; event: Uint8Array }) {
    const memory = openIpcMemory({ handle: exporter.memory });
    const event = openIpcEvent({ handle: exporter.event });
    const backend = cudaBackend();
    const tensor = { ptr: memory.ptr, byteLength: BYTES, dtype: "U8", shape: [BYTES] } as const;
    const close = () => {
      backend.close?.();
      event.close();
      memory.close();
      memory.close(); // once more does nothing
    };
    return { memory, event, backend, tensors: new Map([["t", tensor]]), close };
  }

  async function snapshot(): Promise<Uint8Array> {
    const { event, backend, tensors, close } = open(await startExporter());
    event.holdBack();
    const taken = backend.snapshot(tensors, { device: new TestBudget(0) });
    const bytes = await readAll(taken, { contents: new Map([["t", written]]) });
    taken.close();
    close();
    return bytes;
  }

  test("is read as it is when the other process has written it", async () => {
    expectBytes(await snapshot(), written);
  });

  test("is not, without the wait for its event", async () => {
    standIn.set({ ignored_waits: 8 });
    expect((await snapshot()).every((byte) => byte === 0)).toBe(true);
  });

  test("is filled", async () => {
    const exporter = await startExporter();
    const { memory, event, backend, tensors, close } = open(exporter);
    expect(memory.byteLength).toBeGreaterThanOrEqual(BYTES);
    event.holdBack();
    const contents = new Map([["t", pattern(BYTES, 3)]]);
    await backend.restore(tensors, sourceOf({ tensors, contents }));
    close();
    expectBytes(await exporter.contents(), pattern(BYTES, 3));
  });

  test("outlives the other process, for as long as it is open", async () => {
    const exporter = await startExporter();
    await exporter.contents();
    const { backend, tensors, close } = open(exporter);
    await exporter.kill();
    const taken = backend.snapshot(tensors, { device: new TestBudget(0) });
    expectBytes(await readAll(taken, { contents: new Map([["t", written]]) }), written);
    taken.close();
    close();
    expect(await thrown(() => openIpcMemory({ handle: exporter.memory }))).toMatchObject({
      code: "DEVICE_ERROR",
      message: expect.stringContaining("cuIpcOpenMemHandle_v2 failed with CUDA_ERROR_INVALID_HANDLE"),
    });
  });

  test("is of a device that every process knows by its UUID", async () => {
    standIn.set({ devices: 2 });
    const [first, second] = [deviceUuid(), deviceUuid(1)];
    expect(first).toMatch(/^[0-9a-f]{32}$/);
    expect(second).not.toBe(first);
    standIn.set({ first_device: 1 });
    expect(deviceUuid(0)).toBe(second);
    standIn.set({ devices: 1, first_device: 0 });
    expect(await thrown(() => deviceUuid(1))).toMatchObject({
      code: "INVALID_ARGUMENT",
      message: expect.stringContaining("there is no CUDA device 1"),
    });
  });

  describe("handles", () => {
    test("PyTorch's are taken; of expandable segments they are refused, with what to set", async () => {
      const exporter = await startExporter();
      openIpcMemory({ handle: torchHandle("c", exporter.memory) }).close();
      expect(await thrown(() => openIpcMemory({ handle: torchHandle("e", exporter.memory) }))).toMatchObject({
        code: "UNSUPPORTED",
        message: expect.stringContaining("expandable_segments:False"),
      });
      expect(await thrown(() => openIpcMemory({ handle: torchHandle("x", exporter.memory) }))).toMatchObject({
        code: "INVALID_ARGUMENT",
        message: expect.stringContaining("not known"),
      });
    });

    test("of another length are refused", async () => {
      expect(await thrown(() => openIpcMemory({ handle: new Uint8Array(63) }))).toMatchObject({
        code: "INVALID_ARGUMENT",
        message: expect.stringContaining("63"),
      });
    });

    test("of events are no memory, and the other way round", async () => {
      const { memory, event } = await startExporter();
      const wrong = { code: "DEVICE_ERROR", message: expect.stringContaining("CUDA_ERROR_INVALID_VALUE") };
      expect(await thrown(() => openIpcMemory({ handle: event }))).toMatchObject(wrong);
      expect(await thrown(() => openIpcEvent({ handle: memory }))).toMatchObject(wrong);
    });

    test("of this process are refused, and the context is not taken for lost", async () => {
      const program = new TrainingProgram(standIn.path);
      const handle = program.exportMemory(program.allocate(10));
      expect(await thrown(() => openIpcMemory({ handle }))).toMatchObject({
        code: "INVALID_ARGUMENT",
        message: expect.stringContaining("cannot be opened by the process that exported it"),
      });
      const { memory } = await startExporter();
      openIpcMemory({ handle: memory }).close();
      program.close();
    });
  });
});

/** As `_share_cuda_()` returns it: a version, a kind, and then the handle. */
function torchHandle(kind: string, handle: Uint8Array): Uint8Array {
  return Uint8Array.of(2, kind.charCodeAt(0), ...handle);
}
