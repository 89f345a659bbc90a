import { HoldfastError, type TensorBatch, type TensorPart, type TensorSource } from "@holdfast/core";
import { refuseCapture } from "./capture";
import type { Handle } from "./driver";
import type { Copy, Locations } from "./location";
import type { Session } from "./session";
import { BOUNCE_BYTES } from "./slots";

/**
 * Fills tensors with what `source` delivers, after all that is queued on `training`. Resolves when all of it has
 * arrived; if it rejects, nothing is under way any more.
 */
export async function fillTensors(
  session: Session,
  locations: Locations,
  source: TensorSource,
  training: Handle,
  signal?: AbortSignal,
): Promise<void> {
  refuseCapture(session.context, training);
  session.context.run(() => session.order(training, session.transfers));
  const filling = new Filling(session, locations);
  try {
    for await (const batch of source.batches()) {
      if (!signal?.aborted && !filling.failure) filling.take(batch);
      else batch.release();
      signal?.throwIfAborted();
      if (filling.failure) break;
    }
  } finally {
    await filling.over();
  }
  if (filling.failure) throw filling.failure.error;
}

class Filling {
  failure: { readonly error: unknown } | undefined;
  readonly #session: Session;
  readonly #locations: Locations;
  readonly #uploads = new Set<Promise<void>>();

  constructor(session: Session, locations: Locations) {
    this.#session = session;
    this.#locations = locations;
  }

  /** Begins to upload a batch, which is released when that is done. */
  take(batch: TensorBatch): void {
    const upload: Promise<void> = this.#upload(batch.parts)
      .catch((error) => {
        this.failure ??= { error };
      })
      .finally(() => {
        this.#uploads.delete(upload);
        batch.release();
      });
    this.#uploads.add(upload);
  }

  /** Resolves when nothing is under way any more. */
  async over(): Promise<void> {
    await Promise.all(this.#uploads);
  }

  async #upload(parts: readonly TensorPart[]): Promise<void> {
    const { slots, pinned } = this.#session;
    const copies: Copy[] = [];
    const bounced: Promise<void>[] = [];
    try {
      for (const { name, start, bytes } of parts) {
        const to = this.#placeOf(name, start, bytes.byteLength);
        const from = pinned.addressOf(bytes);
        if (from !== undefined) copies.push({ to, from, byteLength: bytes.byteLength });
        else bounced.push(...this.#bounce(bytes, to));
      }
      if (copies.length > 0) bounced.push(slots.use(() => this.#copy(copies)));
    } finally {
      await Promise.allSettled(bounced);
    }
    await Promise.all(bounced); // tells what failed
  }

  /** Through pinned memory of ours, a part at a time. */
  #bounce(bytes: Uint8Array, to: number): readonly Promise<void>[] {
    const parts: Promise<void>[] = [];
    for (let start = 0; start < bytes.byteLength; start += BOUNCE_BYTES) {
      const part = bytes.subarray(start, start + BOUNCE_BYTES);
      const sent = this.#session.slots.use(async ({ bounce }) => {
        bounce.bytes.set(part);
        await this.#copy([{ to: to + start, from: bounce.address, byteLength: part.byteLength }]);
      });
      sent.catch(() => {}); // told when all are over
      parts.push(sent);
    }
    return parts;
  }

  #copy(copies: readonly Copy[]): Promise<void> {
    const { copier, transfers } = this.#session;
    return this.#session.finish(transfers, () => copier.queue(copies, transfers));
  }

  #placeOf(name: string, start: number, byteLength: number): number {
    const location = this.#locations.get(name);
    if (location && start + byteLength <= location.byteLength) return location.address + start;
    throw new HoldfastError("INVALID_ARGUMENT", `the source delivers bytes of ${name} that it does not have`);
  }
}
