import { shifted, slice } from "./copy-plan";
import type { Handle } from "./driver";
import type { Copy } from "./location";
import { PendingRead } from "./pending-read";
import type { Session } from "./session";
import { BOUNCE_BYTES, type Slot } from "./slots";

/**
 * Brings bytes to the host: straight into memory that can be pinned, and through pinned memory of ours into other.
 * Reads are served in the order in which they came.
 * @param copies to places in `into`, counted from 0, which they fill
 */
export function readBack(session: Session, copies: readonly Copy[], into: Uint8Array): PendingRead {
  const stream = session.transfers;
  const address = session.pinned.addressOf(into);
  const step = address === undefined ? BOUNCE_BYTES : into.byteLength;
  const starts: number[] = [];
  for (let start = 0; start < into.byteLength; start += step) starts.push(start);
  const read = new PendingRead(starts.length);
  for (const start of starts) {
    const part = into.subarray(start, start + step);
    const own = slice(copies, start, start + step);
    const transfer = (slot: Slot) =>
      address === undefined
        ? bounced(session, stream, own, part, slot)
        : session.finish(stream, () => session.copier.queue(shifted(own, address + start), stream));
    void session.slots.use((slot) => read.run(() => transfer(slot)));
  }
  return read;
}

async function bounced(
  session: Session,
  stream: Handle,
  copies: readonly Copy[],
  into: Uint8Array,
  { bounce }: Slot,
): Promise<void> {
  await session.finish(stream, () => session.copier.queue(shifted(copies, bounce.address), stream));
  into.set(bounce.bytes.subarray(0, into.byteLength));
}
