/** The streams that an archive can go into, the web's and Node's, as one thing. */
import { HoldfastError } from "@holdfast/core";

/** Node's `Writable`, as far as it is needed: by its shape, so that a browser needs nothing of Node's. */
export interface NodeWritable {
  write(bytes: Uint8Array, done: (error?: Error | null) => void): unknown;
  end(): unknown;
  destroy(error?: Error): unknown;
  on(event: string, listener: (error?: Error) => void): unknown;
  off(event: string, listener: (error?: Error) => void): unknown;
}

export type ArchiveStream = WritableStream<Uint8Array> | NodeWritable;

/** One stream, written to from here only. */
export interface Destination {
  /** Resolves when the stream has taken the bytes, which are its own from here on. */
  write(bytes: Uint8Array): Promise<void>;
  /** Resolves when the stream has closed: all that was written has gone where it goes. */
  close(): Promise<void>;
  /** Whoever reads what was written shall see that it was cut short. Waits for nothing. */
  destroy(reason: Error): void;
}

/** Told when the stream fails, or closes before it should: between writes, too, and perhaps more than once. */
type OnBroken = (error: unknown) => void;

/** @throws HoldfastError `INVALID_ARGUMENT` if it is no stream, or somebody else writes to it */
export function destinationOf(stream: ArchiveStream, onBroken: OnBroken): Destination {
  if (hasMethods<WritableStream<Uint8Array>>(stream, ["getWriter"])) return webDestination(stream, onBroken);
  if (!hasMethods<NodeWritable>(stream, ["write", "end", "destroy", "on", "off"])) {
    throw new HoldfastError("INVALID_ARGUMENT", "`open` gave neither a WritableStream nor a Writable");
  }
  return isStdio(stream) ? stdioDestination(stream, onBroken) : nodeDestination(stream, onBroken);
}

function webDestination(stream: WritableStream<Uint8Array>, onBroken: OnBroken): Destination {
  if (stream.locked) {
    throw new HoldfastError(
      "INVALID_ARGUMENT",
      "`open` gave a WritableStream that is locked: give a new one",
    );
  }
  const writer = stream.getWriter();
  writer.closed.catch(onBroken);
  return {
    write: (bytes) => writer.write(bytes),
    close: () => writer.close(),
    destroy: (reason) => void writer.abort(reason).catch(() => {}), // why it came to this says more
  };
}

function nodeDestination(stream: NodeWritable, onBroken: OnBroken): Destination {
  const onClose = () => onBroken(new Error("the stream closed before the archive was whole"));
  // For good: without a listener an error ends the process, however late it comes.
  stream.on("error", onBroken);
  stream.on("close", onClose);
  return {
    write: (bytes) => write(stream, bytes),
    close: () =>
      new Promise((resolve) => {
        stream.on("finish", () => {
          stream.off("close", onClose);
          if (closesByItself(stream)) stream.on("close", () => resolve());
          else resolve();
        });
        stream.end();
      }),
    destroy: (reason) => void stream.destroy(reason),
  };
}

/** Others write to it as well, and the next archive may: it is never ended. */
function stdioDestination(stream: NodeWritable, onBroken: OnBroken): Destination {
  stream.on("error", onBroken);
  return {
    write: (bytes) => write(stream, bytes),
    close: async () => void stream.off("error", onBroken),
    destroy: () => {},
  };
}

function write(stream: NodeWritable, bytes: Uint8Array): Promise<void> {
  return new Promise((resolve, reject) => {
    stream.write(bytes, (error) => (error ? reject(error) : resolve()));
  });
}

/** Node marks standard output and standard error, which do not close. */
function isStdio(stream: NodeWritable): boolean {
  return Reflect.get(stream, "_isStdio") === true;
}

/**
 * Whether `close` follows on `finish`, by what Node's own `stream.finished` goes by. The other side of a Duplex
 * closes when whoever reads it is done.
 */
function closesByItself(stream: NodeWritable): boolean {
  const state: unknown = Reflect.get(stream, "_writableState");
  if (typeof state !== "object" || state === null || Reflect.get(stream, "readable") === true) return false;
  return Reflect.get(state, "emitClose") === true && Reflect.get(state, "autoDestroy") === true;
}

function hasMethods<T>(value: unknown, methods: readonly (keyof T & string)[]): value is T {
  if (typeof value !== "object" || value === null) return false;
  return methods.every((method) => typeof Reflect.get(value, method) === "function");
}
