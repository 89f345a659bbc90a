import { type Budget, HoldfastError, type Snapshot } from "@holdfast/core";
import type { CopyMemory } from "./copy-memory";
import { type CopyPlan, planCopy } from "./copy-plan";
import { CopyPool } from "./copy-pool";
import { DeviceGuard } from "./device-guard";
import type { Locations } from "./location";
import { Readback } from "./readback";
import { GpuSnapshot, type Holding } from "./snapshot";
import { findUnreadable } from "./unreadable";

/** What the snapshots of one device share. */
export class DeviceContext {
  readonly guard: DeviceGuard;
  readonly readback: Readback;
  readonly #pool: CopyPool;

  constructor(device: GPUDevice) {
    this.guard = new DeviceGuard(device);
    this.readback = new Readback(this.guard);
    this.#pool = new CopyPool(this.guard);
  }

  /** Copies the tensors on the device, in queue order, or leaves them where they are if there is no room. */
  copy(locations: Locations, budget: Budget): Snapshot {
    const plan = this.#plan(locations);
    const inPlace: Holding = { mode: "blocking", locations, release: () => {} };
    const memory = this.#pool.take(plan.sizes, budget);
    if (!memory) return new GpuSnapshot(this, inPlace);
    const { refusal } = this.guard.scoped(() => this.#submit(plan, memory));
    const copied: Holding = {
      mode: "device-copy",
      locations: plan.locate(memory.buffers),
      release: () => this.#pool.release(memory),
    };
    const confirmed = Promise.all([memory.refusal, refusal]).then(async ([noMemory, refused]) => {
      if (noMemory) return inPlace;
      if (!refused) return copied;
      throw (await findUnreadable(this.guard, locations)) ?? refusedCopy(refused);
    });
    return new GpuSnapshot(this, copied, confirmed);
  }

  /** Allocates ahead what `copy` of these tensors takes. */
  prepare(locations: Locations, budget: Budget): Promise<void> {
    return this.guard.race(this.#pool.prepare(this.#plan(locations).sizes, budget));
  }

  /** Frees what is kept between snapshots. */
  close(): void {
    this.readback.close();
    this.#pool.close();
  }

  #plan(locations: Locations): CopyPlan {
    return planCopy(locations, this.guard.device.limits.maxBufferSize);
  }

  #submit({ copies }: CopyPlan, { buffers }: CopyMemory): void {
    const { device } = this.guard;
    const encoder = device.createCommandEncoder();
    for (const { buffer, from, target, to, size } of copies) {
      const destination = buffers[target];
      if (destination) encoder.copyBufferToBuffer(buffer, from, destination, to, size);
    }
    device.queue.submit([encoder.finish()]);
  }
}

function refusedCopy(cause: GPUError): HoldfastError {
  return new HoldfastError(
    "DEVICE_ERROR",
    `the device refused to copy the tensors: ${cause.message.trim()}`,
    {
      cause,
    },
  );
}
