import type { DeviceContext, Driver, Handle } from "./driver";
import { GATHER_KERNEL, KERNEL_BLOCKS, KERNEL_COPIES, KERNEL_NAME, KERNEL_THREADS } from "./gather-kernel";
import type { Copy } from "./location";

/** Many copies in one launch of a kernel of ours, for drivers that have no call for that. */
export class GatheredCopies {
  readonly #context: DeviceContext;
  readonly #driver: Driver;
  readonly #module: Handle;
  readonly #kernel: Handle;
  /** The kernel's parameter, which a launch copies; and where it is. */
  readonly #table = new BigUint64Array(3 * KERNEL_COPIES);
  readonly #parameters: BigUint64Array;

  constructor(context: DeviceContext) {
    this.#context = context;
    this.#driver = context.driver;
    this.#parameters = BigUint64Array.of(BigInt(this.#driver.addressOf(this.#table)));
    this.#module = this.#driver.out("cuModuleLoadData", text(GATHER_KERNEL));
    try {
      this.#kernel = this.#driver.out("cuModuleGetFunction", this.#module, text(KERNEL_NAME));
    } catch (error) {
      this.close();
      throw error;
    }
  }

  queue(copies: readonly Copy[], stream: Handle): void {
    for (let start = 0; start < copies.length; start += KERNEL_COPIES) {
      const launch = copies.slice(start, start + KERNEL_COPIES);
      for (const [i, { to, from, byteLength }] of launch.entries()) {
        this.#table.set([BigInt(to), BigInt(from), BigInt(byteLength)], 3 * i);
      }
      const [grid, block] = [[KERNEL_BLOCKS, launch.length, 1] as const, [KERNEL_THREADS, 1, 1] as const];
      this.#driver.call("cuLaunchKernel", this.#kernel, ...grid, ...block, 0, stream, this.#parameters, null);
    }
  }

  close(): void {
    this.#context.giveBack(() => this.#driver.status("cuModuleUnload", this.#module));
  }
}

/** Text as C has it. */
function text(string: string): Uint8Array {
  return new TextEncoder().encode(`${string}\0`);
}
