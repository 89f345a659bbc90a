import { HoldfastError, type TensorPart, type TensorSource } from "@holdfast/core";
import type { DeviceGuard } from "./device-guard";
import type { Location, Locations } from "./location";

/** What one call hands to the queue at most. */
const WRITE_BYTES = 8 * 2 ** 20;
/**
 * After so many bytes, what was handed over before them has to have arrived: the driver keeps a copy of
 * everything that is under way, which is twice as much at most.
 */
const WINDOW_BYTES = 32 * 2 ** 20;

/**
 * Fills tensors on the device with what `source` delivers, through the queue. Resolves when all of it
 * has arrived. Behind a tensor whose length is no multiple of 4, the bytes up to the next one become 0.
 * @throws HoldfastError `DEVICE_LOST`; `DEVICE_ERROR` naming the tensor that the device refused
 */
export function writeTensors(
  guard: DeviceGuard,
  locations: Locations,
  source: TensorSource,
  signal?: AbortSignal,
): Promise<void> {
  const writer = new DeviceWriter(guard, locations);
  const write = async () => {
    for await (const batch of source.batches()) {
      try {
        for (const part of batch.parts) {
          signal?.throwIfAborted();
          await writer.write(part);
        }
      } finally {
        batch.release();
      }
    }
    await writer.flush();
  };
  return guard.race(write());
}

class DeviceWriter {
  readonly #guard: DeviceGuard;
  readonly #locations: Locations;
  /** What the writes of this window come to: the error of one that was refused. */
  #outcomes: Promise<HoldfastError | undefined>[] = [];
  #bytes = 0;
  /** The same of the window before it, once all of that has arrived. */
  #previous: Promise<HoldfastError | undefined> = Promise.resolve(undefined);

  constructor(guard: DeviceGuard, locations: Locations) {
    this.#guard = guard;
    this.#locations = locations;
  }

  /** Resolves when there is room for more. `bytes` are copied by then. */
  async write({ name, start, bytes }: TensorPart): Promise<void> {
    const { buffer, offset } = this.#locate(name, start + bytes.byteLength);
    for (let from = 0; from < bytes.byteLength; from += WRITE_BYTES) {
      this.#guard.check();
      const piece = bytes.subarray(from, from + WRITE_BYTES);
      const { refusal } = this.#guard.scoped(() =>
        writePadded(this.#guard.device.queue, buffer, offset + start + from, piece),
      );
      this.#outcomes.push(refusal.then((cause) => cause && refused(name, cause)).then((e) => e ?? undefined));
      this.#bytes += piece.byteLength;
      if (this.#bytes >= WINDOW_BYTES) await this.#nextWindow();
    }
  }

  /** Resolves when everything has arrived. */
  async flush(): Promise<void> {
    await this.#nextWindow();
    await this.#nextWindow();
  }

  async #nextWindow(): Promise<void> {
    const before = this.#previous;
    const arrived = this.#guard.device.queue.onSubmittedWorkDone();
    this.#previous = Promise.all([arrived, ...this.#outcomes]).then(([, ...outcomes]) =>
      outcomes.find((outcome) => outcome !== undefined),
    );
    this.#outcomes = [];
    this.#bytes = 0;
    const error = await before;
    if (error) throw error;
  }

  #locate(name: string, end: number): Location {
    const location = this.#locations.get(name);
    if (location && end <= location.byteLength) return location;
    throw new HoldfastError("INVALID_ARGUMENT", `the source delivers bytes of ${name} that it does not have`);
  }
}

function writePadded(queue: GPUQueue, buffer: GPUBuffer, offset: number, bytes: Uint8Array): void {
  const whole = bytes.byteLength - (bytes.byteLength % 4);
  if (whole > 0) queue.writeBuffer(buffer, offset, unshared(bytes.subarray(0, whole)));
  if (whole === bytes.byteLength) return;
  const last = new Uint8Array(4);
  last.set(bytes.subarray(whole));
  queue.writeBuffer(buffer, offset + whole, last);
}

/** WebGPU takes shared memory, but Dawn in Node crashes on it (webgpu 0.6.2). */
function unshared(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  return isUnshared(bytes) ? bytes : bytes.slice();
}

function isUnshared(bytes: Uint8Array): bytes is Uint8Array<ArrayBuffer> {
  return bytes.buffer instanceof ArrayBuffer;
}

function refused(name: string, cause: GPUError): HoldfastError {
  return new HoldfastError(
    "DEVICE_ERROR",
    `tensor ${name} cannot be filled: its buffer was destroyed, is mapped, or is of another device. ` +
      `The device says: ${cause.message.trim()}`,
    { cause },
  );
}
