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

/** A turn is over when timers were served. Browsers serve them between messages. */
const afterTurn: Later = "setImmediate" in globalThis ? byImmediates() : byMessage();

/**
 * Node's loop serves timers, then messages, then immediates. An immediate of an immediate comes when it has been all
 * round; where others keep the thread meanwhile, a timer comes before it, and timers have been served as well.
 */
function byImmediates(): Later {
  // The real ones, whatever a test makes of them later.
  const { setTimeout, clearTimeout, setImmediate } = globalThis as typeof globalThis & {
    setImmediate: Later;
  };
  return (then) => {
    let over = false;
    const end = () => {
      if (over) return;
      over = true;
      clearTimeout(timer);
      then();
    };
    const timer = setTimeout(end, 0);
    setImmediate(() => setImmediate(end));
  };
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
