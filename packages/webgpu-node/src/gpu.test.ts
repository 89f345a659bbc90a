import { spawn } from "node:child_process";
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { openDevice, openGpu } from "./gpu";
import { hasSwiftShader, unpackSwiftShader } from "./swiftshader";

test("a device computes, and its memory can be read", async () => {
  const device = await openDevice();
  const module = device.createShaderModule({
    code: `@group(0) @binding(0) var<storage, read_write> data: array<f32>;
           @compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3u) { data[id.x] = f32(id.x) * 0.5; }`,
  });
  const pipeline = device.createComputePipeline({ layout: "auto", compute: { module } });
  const data = device.createBuffer({ size: 256, usage: GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC });
  const staging = device.createBuffer({
    size: 256,
    usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST,
  });
  const encoder = device.createCommandEncoder();
  const pass = encoder.beginComputePass();
  pass.setPipeline(pipeline);
  const entries = [{ binding: 0, resource: { buffer: data } }];
  pass.setBindGroup(0, device.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries }));
  pass.dispatchWorkgroups(1);
  pass.end();
  encoder.copyBufferToBuffer(data, 0, staging, 0, 256);
  device.queue.submit([encoder.finish()]);
  await staging.mapAsync(GPUMapMode.READ);
  expect([...new Float32Array(staging.getMappedRange())]).toEqual(
    Array.from({ length: 64 }, (_, i) => i / 2),
  );
  device.destroy();
});

test("the descriptor is WebGPU's, and devices are independent", async () => {
  const large = await openDevice({ label: "large", requiredLimits: { maxBufferSize: 2 ** 29 } });
  const other = await openDevice();
  expect(large.label).toBe("large");
  expect(large.limits.maxBufferSize).toBe(2 ** 29);
  large.destroy();
  expect((await large.lost).reason).toBe("destroyed");
  await other.queue.onSubmittedWorkDone();
  other.destroy();
});

test("navigator.gpu is what was opened, and says what it is", async () => {
  const { gpu, adapterName, software } = await openGpu();
  expect(navigator.gpu).toBe(gpu);
  expect(await openGpu()).toEqual({ gpu, adapterName, software });
  const adapter = await gpu.requestAdapter({ powerPreference: "high-performance" });
  expect(adapter?.info.isFallbackAdapter).toBe(software);
  expect(adapterName).not.toBe("");
});

describe("a process of its own", () => {
  const run = (code: string) =>
    new Promise<{ code: number | null; signal: string | null; out: string }>((resolve, reject) => {
      const built = fileURLToPath(new URL("../dist/index.js", import.meta.url));
      const script = `import { openDevice } from ${JSON.stringify(built)};\n${code}`;
      const child = spawn(process.execPath, ["--input-type=module", "-e", script], {
        stdio: ["ignore", "pipe", "inherit"],
        env: { ...process.env, VK_ADD_DRIVER_FILES: undefined },
      });
      let out = "";
      child.stdout.on("data", (data) => {
        out += data;
      });
      child.on("error", reject);
      child.on("close", (exit, signal) => resolve({ code: exit, signal, out }));
    });

  const BUSY = `const device = await openDevice();
    const buffer = device.createBuffer({ size: 1 << 22, usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST });
    const mapped = buffer.mapAsync(GPUMapMode.READ);`;

  test("needs no environment and ends by itself, with the device open", async () => {
    const result = await run(`${BUSY} await mapped; console.log(buffer.getMappedRange().byteLength);`);
    expect(result).toEqual({ code: 0, signal: null, out: "4194304\n" });
  });

  // Where there is no SwiftShader, Dawn does not come by its adapters through the Vulkan loader.
  test.runIf(hasSwiftShader)("that found no adapter may try again (needs Linux on x64)", async () => {
    const result = await run(`process.env.VK_DRIVER_FILES = "/nowhere";
      const refusals = await Promise.all([1, 2].map(() => openDevice().catch(({ message }) => message)));
      for (const refusal of refusals) console.log(refusal.slice(0, 17));
      delete process.env.VK_DRIVER_FILES;
      const device = await openDevice();
      console.log(device.limits.maxBufferSize > 0, (await openDevice()) !== device);`);
    expect(result.out).toBe("no WebGPU adapter\nno WebGPU adapter\ntrue true\n");
    expect(result.code).toBe(0);
  });

  test("ends with its own exit code while the device is at work", async () => {
    expect(await run(`${BUSY} process.exit(3);`)).toEqual({ code: 3, signal: null, out: "" });
  });
});

describe.runIf(hasSwiftShader)("SwiftShader (needs Linux on x64)", () => {
  let cache = "";
  beforeAll(async () => {
    cache = await mkdtemp(join(tmpdir(), "holdfast-swiftshader-"));
  });
  afterAll(() => rm(cache, { recursive: true }));

  test("is unpacked once, whole, whoever comes first", async () => {
    const places = await Promise.all([1, 2, 3].map(() => unpackSwiftShader(cache)));
    expect(new Set(places.map(({ loader }) => loader)).size).toBe(1);
    expect(await readdir(cache)).toHaveLength(1);
    for (const { loader, manifest } of places) {
      const elf = await readFile(loader);
      expect(elf.subarray(1, 4).toString()).toBe("ELF");
      expect(JSON.parse(await readFile(manifest, "utf8")).ICD.library_path).toBe("./libvk_swiftshader.so");
    }
  });
});
