/**
 * Work on the event loop's thread that takes long is done in stretches, and between them the loop takes a turn:
 * timers, messages, frames and input come to their right.
 */

/** Short enough that nobody sees a frame late, and long enough that turns cost nothing. */
const STRETCH_MS = 2;
/** Where others keep the thread for longer than that at a time, we may take half of what they take. */
const OTHERS_TO_US = 2;
/** But never more: one long wait (a compilation, a sleep) says nothing of the turns to come. */
const LONGEST_MS = 50;

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
  stretch = Math.min(LONGEST_MS, Math.max(STRETCH_MS, (performance.now() - asked) / OTHERS_TO_US));
}

/** The real ones, whatever clock a test sets up later. */
const { setTimeout, clearTimeout } = globalThis;

/**
 * A turn is over when timers were served. They take 1 to 4 ms, so that a message to ourselves, there and back, mostly
 * comes first: by then the loop has been all round. Where others keep the thread meanwhile, the timer does.
 */
function afterTurn(then: () => void): void {
  let over = false;
  const end = () => {
    if (over) return;
    over = true;
    clearTimeout(timer);
    then();
  };
  const timer = setTimeout(end, 0);
  waiting.push(end);
  outward ??= openChannel();
  outward.postMessage(undefined);
}

const waiting: (() => void)[] = [];
let outward: MessagePort | undefined;

/** One way would not do: Node hands over all messages of a port in one turn, those that come meanwhile too. */
function openChannel(): MessagePort {
  // Node's ports keep the process alive; here the timers do, as long as somebody waits.
  const { port1, port2 }: Record<"port1" | "port2", MessagePort & { unref?(): void }> = new MessageChannel();
  port2.onmessage = () => port2.postMessage(undefined);
  port1.onmessage = () => waiting.shift()?.();
  for (const port of [port1, port2]) port.unref?.();
  return port1;
}
