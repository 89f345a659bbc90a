import type { HoldfastError } from "@holdfast/core";
import type { LibraryHandle } from "koffi";
import { type FunctionName, foreignTypes, IPC_HANDLE, type ParametersOf } from "./declarations";
import { CudaError, deviceFailure, SUCCESS } from "./errors";

/** A stream, event, context, module or function: what the driver calls it by. */
export type Handle = bigint;

export type Koffi = typeof import("koffi");

/** The parameters after the first, which is where the result goes. */
type Rest<F extends FunctionName> =
  ParametersOf<F> extends [ArrayBufferView | null, ...infer Others] ? Others : never;

/** Unsigned numbers of up to 64 bits that calls write to, by `Driver.out`. */
const SCRATCH = new BigUint64Array(1);

/** A loaded CUDA driver. Nothing here is of one device. */
export class Driver {
  readonly #koffi: Koffi;
  readonly #library: LibraryHandle;
  readonly #functions = new Map<FunctionName, (...parameters: readonly unknown[]) => number>();

  constructor(koffi: Koffi, library: LibraryHandle) {
    this.#koffi = koffi;
    this.#library = library;
  }

  /** Calls, and returns what the call returns. */
  status<F extends FunctionName>(name: F, ...parameters: ParametersOf<F>): number {
    return this.#bound(name)(...parameters);
  }

  /** @throws HoldfastError `DEVICE_LOST`, `OUT_OF_MEMORY`, `UNSUPPORTED` or `DEVICE_ERROR`, with a CudaError as its cause */
  call<F extends FunctionName>(name: F, ...parameters: ParametersOf<F>): void {
    const code = this.status(name, ...parameters);
    if (code !== SUCCESS) throw this.failure(name, code);
  }

  /**
   * Calls a function whose first parameter is where it writes its result, which is returned: a handle, or a number.
   * @throws HoldfastError as `call`
   */
  out<F extends FunctionName>(name: F, ...parameters: Rest<F>): bigint {
    SCRATCH[0] = 0n; // a result of 32 bits fills half of it
    const code = this.#bound(name)(SCRATCH, ...parameters);
    if (code !== SUCCESS) throw this.failure(name, code);
    return SCRATCH[0];
  }

  /** Whether the driver is new enough to have the function. */
  has(name: FunctionName): boolean {
    try {
      this.#bound(name);
      return true;
    } catch {
      return false;
    }
  }

  /** What it means that a call returned `code`. */
  failure(call: FunctionName, code: number): HoldfastError {
    const [name, text] = [this.#text("cuGetErrorName", code), this.#text("cuGetErrorString", code)];
    return deviceFailure(new CudaError(call, code, name, text));
  }

  /** Where the bytes of a view lie in this process. */
  addressOf(view: ArrayBufferView): number {
    return Number(this.#koffi.address(view));
  }

  #bound(name: FunctionName): (...parameters: readonly unknown[]) => number {
    const known = this.#functions.get(name);
    if (known) return known;
    const { struct, array } = this.#koffi;
    const types = foreignTypes(name).map((type) =>
      type === IPC_HANDLE ? struct({ reserved: array("uint8", 64) }) : type,
    );
    const bound = this.#library.func(name, "int", types);
    this.#functions.set(name, bound);
    return bound;
  }

  #text(name: "cuGetErrorName" | "cuGetErrorString", code: number): string {
    const pointer = new BigUint64Array(1);
    if (this.status(name, code, pointer) !== SUCCESS) return "an error that this driver has no name for";
    return String(this.#koffi.decode(pointer, "str"));
  }
}
