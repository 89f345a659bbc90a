/** The bare writing loop: a worker, O_DIRECT, two blocks in flight out of held memory, then fsync. */
import { join } from "node:path";
import { BareWorker } from "../kit/bare";
import { answer, gbPerS } from "../kit/child";
import { removeFully } from "../kit/durable";
import { type Warming, warmed } from "../kit/warmed";
import { MiB } from "../measure";
import { median } from "../statistics";

export interface BareWriteOptions extends Warming {
  readonly bytes: number;
}

await answer<BareWriteOptions>(async (options) => {
  const worker = new BareWorker({ blockBytes: 8 * MiB, inFlight: 2 });
  const path = join(options.dir, "bare");
  const replies = await warmed(options, async () => {
    const reply = await worker.run({ operation: "write", path, byteLength: options.bytes });
    await removeFully(path);
    return reply;
  });
  await worker.close();
  const times: number[] = [];
  for (const reply of replies) {
    if ("error" in reply) return { skip: `this file system takes no O_DIRECT (${reply.error})` };
    times.push(reply.ms);
  }
  return { gbPerS: gbPerS(options.bytes, median(times)) };
});
