/** The CUDA driver as a program that trains calls it: the bench owns memory, and is no user of backend-cuda's insides. */
import koffi, { type LibraryHandle } from "koffi";

const HANDLE = "uint64";

/** The parameters of what we call. All return a CUresult. */
const FUNCTIONS = {
  cuInit: ["uint32"],
  cuDriverGetVersion: ["void *"],
  cuGetErrorName: ["int", "void *"],
  cuDeviceGet: ["void *", "int"],
  cuDeviceGetName: ["void *", "int", "int"],
  cuDevicePrimaryCtxRetain: ["void *", "int"],
  cuCtxPushCurrent_v2: [HANDLE],
  cuStreamCreate: ["void *", "uint32"],
  cuStreamSynchronize: [HANDLE],
  cuEventCreate: ["void *", "uint32"],
  cuEventRecord: [HANDLE, HANDLE],
  cuEventQuery: [HANDLE],
  cuEventSynchronize: [HANDLE],
  cuEventElapsedTime: ["void *", HANDLE, HANDLE],
  cuEventElapsedTime_v2: ["void *", HANDLE, HANDLE],
  cuMemAlloc_v2: ["void *", "size_t"],
  cuMemHostAlloc: ["void *", "size_t", "uint32"],
  cuMemGetInfo_v2: ["void *", "void *"],
  cuMemcpyDtoDAsync_v2: [HANDLE, HANDLE, "size_t", HANDLE],
  cuMemcpyDtoHAsync_v2: [HANDLE, HANDLE, "size_t", HANDLE],
  cuMemcpyHtoDAsync_v2: [HANDLE, HANDLE, "size_t", HANDLE],
  cuModuleLoadData: ["void *", "str"],
  cuModuleGetFunction: ["void *", HANDLE, "str"],
  cuLaunchKernel: [HANDLE, ...Array<string>(7).fill("uint32"), HANDLE, "void *", "void *"],
} as const satisfies Record<string, readonly string[]>;

export type FunctionName = keyof typeof FUNCTIONS;
type Parameter = number | bigint | string | ArrayBufferView | null;

/** The driver of the machine, or what HOLDFAST_LIBCUDA names, as for backend-cuda. */
export class Cuda {
  readonly #library: LibraryHandle;
  readonly #bound = new Map<FunctionName, (...parameters: readonly Parameter[]) => number>();

  /** @throws Error if there is no driver, or it finds no device */
  constructor() {
    const name = process.env.HOLDFAST_LIBCUDA || "libcuda.so.1";
    try {
      this.#library = koffi.load(name);
    } catch (cause) {
      throw new Error(`there is no CUDA driver (${name}): this needs a machine with an NVIDIA GPU`, {
        cause,
      });
    }
    this.call("cuInit", 0);
  }

  status(name: FunctionName, ...parameters: readonly Parameter[]): number {
    const known = this.#bound.get(name) ?? this.#library.func(name, "int", [...FUNCTIONS[name]]);
    this.#bound.set(name, known);
    return known(...parameters);
  }

  /** @throws Error with CUDA's own name of the failure */
  call(name: FunctionName, ...parameters: readonly Parameter[]): void {
    const code = this.status(name, ...parameters);
    if (code !== 0) throw new Error(`${name} failed with ${this.#nameOf(code)} (${code})`);
  }

  /** Calls a function whose first parameter is where it writes a handle, an address or a number. */
  out(name: FunctionName, ...parameters: readonly Parameter[]): bigint {
    const out = new BigUint64Array(1);
    this.call(name, out, ...parameters);
    return out[0] ?? 0n;
  }

  has(name: FunctionName): boolean {
    try {
      this.#library.func(name, "int", [...FUNCTIONS[name]]);
      return true;
    } catch {
      return false;
    }
  }

  #nameOf(code: number): string {
    const pointer = new BigUint64Array(1);
    if (this.status("cuGetErrorName", code, pointer) !== 0) return "an error without a name";
    return String(koffi.decode(pointer, "str"));
  }
}

/** Where the bytes of a view lie in this process. */
export function addressOf(view: ArrayBufferView): bigint {
  return koffi.address(view);
}
