/**
 * Work on the event loop's thread that takes long is done in stretches, and between them the loop takes a turn:
 * timers, messages, frames and input come to their right.
 */

/** Short enough that nobody sees a frame late, and long enough that turns cost nothing. */
const STRETCH_MS = 4;
/** Where others keep the thread for longer than that at a time, we may take a quarter of what they take. */
const OTHERS_TO_US = 4;

let lastTurn = 0;
let stretch = STRETCH_MS;

/** Whether whoever works has worked long enough for now. */
export function turnIsDue(): boolean {
  return performance.now() - lastTurn > stretch;
}

/** Resolves after the event loop took a turn. */
export async function nextTurn(): Promise<void> {
  const asked = performance.now();
  await new Promise<void>((resolve) => {
    waiting.push(resolve);
    if (waiting.length === 1) post();
  });
  lastTurn = performance.now();
  stretch = Math.max(STRETCH_MS, (lastTurn - asked) / OTHERS_TO_US);
}

const waiting: (() => void)[] = [];

/** Node's ports keep the process alive while they listen, unless told otherwise. */
interface Port extends MessagePort {
  ref?(): void;
  unref?(): void;
}
let ports: readonly [Port, Port] | undefined;

/**
 * A message to ourselves, there and back: what browsers and Node have that takes a turn and no time (timers take
 * 1 to 4 ms). Node hands over all messages of one port in one turn, those that come meanwhile too, so that one
 * way would not do.
 */
function post(): void {
  ports ??= open();
  for (const port of ports) port.ref?.();
  ports[0].postMessage(undefined);
}

function open(): readonly [Port, Port] {
  const { port1, port2 }: { port1: Port; port2: Port } = new MessageChannel();
  port2.onmessage = () => port2.postMessage(undefined);
  port1.onmessage = () => {
    for (const port of [port1, port2]) port.unref?.();
    for (const resolve of waiting.splice(0)) resolve();
  };
  return [port1, port2];
}
