import { constants } from "node:os";
import { create, globals } from "webgpu";
import { hasSwiftShader, unpackSwiftShader } from "./swiftshader";

/** WebGPU in this process. */
export interface NodeGpu {
  readonly gpu: GPU;
  /** What the adapter calls itself: `NVIDIA H200`, `SwiftShader driver 5.0.0`. */
  readonly adapterName: string;
  /** Whether the adapter computes on the CPU. */
  readonly software: boolean;
}

// Held for as long as the process lives: if Dawn's object is collected, the process crashes at random.
let opened: Promise<NodeGpu> | undefined;

/**
 * Opens WebGPU: the machine's GPU if Dawn finds one, else SwiftShader. Sets `navigator.gpu` and WebGPU's
 * globals (`GPUBufferUsage` …) as a browser has them. Opens once; later calls return the same, or try
 * again if it failed.
 * @throws Error if the machine has no GPU and SwiftShader does not run on it.
 */
export function openGpu(): Promise<NodeGpu> {
  opened ??= open().catch((error: unknown) => {
    opened = undefined;
    throw error;
  });
  return opened;
}

/** Opens a device of its own: `descriptor` is WebGPU's, with WebGPU's defaults. */
export async function openDevice(descriptor?: GPUDeviceDescriptor): Promise<GPUDevice> {
  const { gpu } = await openGpu();
  // An adapter gives one device only, so that each device needs a new one.
  return (await requestAdapter(gpu)).requestDevice(descriptor);
}

async function open(): Promise<NodeGpu> {
  if (hasSwiftShader) await offerSwiftShader();
  Object.assign(globalThis, globals);
  const gpu = create([]);
  if (!("navigator" in globalThis)) {
    // As Node has it since version 21; libraries for browsers look at `userAgent`.
    const value = { userAgent: `Node.js/${process.versions.node.split(".")[0]}` };
    Object.defineProperty(globalThis, "navigator", { value, configurable: true, writable: true });
  }
  Object.defineProperty(globalThis.navigator, "gpu", { value: gpu, configurable: true, writable: true });
  const { info } = await requestAdapter(gpu);
  return { gpu, adapterName: info.description || info.device, software: info.isFallbackAdapter };
}

async function requestAdapter(gpu: GPU): Promise<GPUAdapter> {
  const adapter = await gpu.requestAdapter({ powerPreference: "high-performance" });
  if (adapter) return adapter;
  throw new Error(
    "no WebGPU adapter: this machine has no GPU that Dawn can drive, and SwiftShader is for Linux on x64 only",
  );
}

/**
 * Adds SwiftShader to the drivers that the machine has, so that Dawn, which ranks GPUs before CPUs,
 * takes it only where there is nothing better. Both steps work inside a running process: the loader
 * reads the variable when Dawn calls it, and Dawn finds a library by its name once one is loaded.
 * https://github.com/KhronosGroup/Vulkan-Loader/blob/main/docs/LoaderDriverInterface.md
 */
async function offerSwiftShader(): Promise<void> {
  const { loader, manifest } = await unpackSwiftShader();
  const drivers = process.env.VK_ADD_DRIVER_FILES?.split(":") ?? [];
  if (!drivers.includes(manifest)) process.env.VK_ADD_DRIVER_FILES = [...drivers, manifest].join(":");
  if (!loadLibrary("libvulkan.so.1")) loadLibrary(loader);
}

/** Loads a native library and keeps it, and says whether it could. */
function loadLibrary(path: string): boolean {
  const RTLD_NODELETE = 0x1000;
  try {
    process.dlopen({ exports: {} }, path, constants.dlopen.RTLD_NOW | RTLD_NODELETE);
    return true;
  } catch (error) {
    // Node expects an add-on, and complains of any other library once that is loaded.
    return error instanceof Error && error.message.startsWith("Module did not self-register");
  }
}
