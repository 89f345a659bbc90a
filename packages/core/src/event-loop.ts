/**
 * Work on the event loop's thread that takes long is done in stretches, and between them the loop takes a turn:
 * timers, messages, frames and input come to their right.
 */

/** Short enough that nobody sees a frame late, and long enough that turns cost nothing. */
const STRETCH_MS = 2;
/** Where others keep the thread for longer than that at a time, we may take half of what they take. */
const OTHERS_TO_US = 2;

/** When work began in this turn; undefined if there was none. */
let begunAt: number | undefined;
let stretch = STRETCH_MS;

/** Whether whoever works has worked long enough for this turn. */
export function turnIsDue(): boolean {
  const now = performance.now();
  if (begunAt === undefined) {
    begunAt = now;
    afterTurn(() => {
      begunAt = undefined;
    });
  }
  return now - begunAt > stretch;
}

/** Resolves after the event loop took a turn. */
export async function nextTurn(): Promise<void> {
  const asked = performance.now();
  await new Promise<void>(afterTurn);
  begunAt = undefined;
  stretch = Math.max(STRETCH_MS, (performance.now() - asked) / OTHERS_TO_US);
}

type Later = (then: () => void) => void;

/**
 * A turn is over when timers were served. Node's come after 1 ms at the earliest, which is short against a stretch;
 * browsers make them wait for 4 ms, and in the background for a second, but serve timers between messages.
 */
const afterTurn: Later = "setImmediate" in globalThis ? byTimer() : byMessage();

function byTimer(): Later {
  const { setTimeout } = globalThis; // the real one, whatever a test makes of it later
  return (then) => setTimeout(then, 0);
}

function byMessage(): Later {
  const { port1, port2 } = new MessageChannel();
  const waiting: (() => void)[] = [];
  port1.onmessage = () => waiting.shift()?.();
  return (then) => {
    waiting.push(then);
    port2.postMessage(undefined);
  };
}
