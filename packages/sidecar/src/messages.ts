/** What the trainer (python/holdfast/sidecar.py) and the sidecar say to each other: lines of JSON, a request in and its answers out. */
import { HoldfastError, isDType, isHoldfastError, messageOf, type TensorSpec } from "@holdfast/core";

/** A tensor in the staging memory. */
export interface StagedTensor extends TensorSpec {
  readonly name: string;
  /** Where it begins in the staging memory, in bytes. */
  readonly offset: number;
}

/** By which the trainer's memory is opened. */
export interface Handles {
  readonly memory: Uint8Array;
  readonly event: Uint8Array;
  /** Of the device that they are of, in hexadecimal digits. */
  readonly uuid: string;
}

export type Request = { readonly request: number } & (
  | { readonly type: "open"; readonly handles: Handles }
  | { readonly type: "release" }
  | { readonly type: "save"; readonly save: SaveOrder }
  | { readonly type: "latest" }
);

export interface SaveOrder {
  readonly step: number;
  readonly groups: ReadonlyMap<string, readonly StagedTensor[]>;
  /** What lies behind the tensors if they were copied. */
  readonly token: { readonly bytes: Uint8Array; readonly offset: number };
  /** Checked by core. */
  readonly metrics: unknown;
  readonly training: unknown;
  readonly extra: unknown;
}

/** `drained` comes before the last answer to a save, which is one of the others. */
export type Answer = { readonly request: number } & (
  | { readonly type: "drained" }
  | { readonly type: "done"; readonly result: unknown }
  | { readonly type: "failed"; readonly code: string; readonly message: string }
);

export function failed(request: number, error: unknown): Answer {
  const code = isHoldfastError(error) ? error.code : "SINK_FAILED";
  return { request, type: "failed", code, message: messageOf(error) };
}

/** @throws HoldfastError `INVALID_ARGUMENT`, SyntaxError: the other side speaks another language, and nothing can go on */
export function readRequest(line: string): Request {
  const message = object(JSON.parse(line));
  const { request, type } = message;
  if (typeof request !== "number") throw unknownMessage("request");
  if (type === "open") {
    const { memory, event, uuid } = message;
    if (typeof uuid !== "string") throw unknownMessage("uuid");
    return {
      request,
      type,
      handles: { memory: bytes(memory, "memory"), event: bytes(event, "event"), uuid },
    };
  }
  if (type === "save") return { request, type, save: readOrder(message) };
  if (type === "latest" || type === "release") return { request, type };
  throw unknownMessage("type");
}

function readOrder({ step, groups, token, metrics, training, extra }: Message): SaveOrder {
  if (typeof step !== "number") throw unknownMessage("step");
  const read = Object.entries(object(groups)).map(([group, tensors]) => {
    if (!Array.isArray(tensors)) throw unknownMessage(`groups.${group}`);
    return [group, tensors.map((tensor) => readTensor(tensor, group))] as const;
  });
  const { offset, bytes: written } = object(token);
  if (!isCount(offset)) throw unknownMessage("token");
  return {
    step,
    groups: new Map(read),
    token: { offset, bytes: bytes(written, "token") },
    metrics,
    training,
    extra,
  };
}

/** `[name, dtype, shape, offset]`: there are thousands of them. */
function readTensor(tensor: unknown, group: string): StagedTensor {
  const [name, dtype, shape, offset] = Array.isArray(tensor) ? tensor : [];
  const sound = typeof name === "string" && isDType(dtype) && isCounts(shape) && isCount(offset);
  if (!sound) throw unknownMessage(`groups.${group}: tensor ${String(name)}`);
  return { name, dtype, shape, offset };
}

type Message = Readonly<Record<string, unknown>>;

function object(value: unknown): Message {
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw unknownMessage("message");
  return value as Message;
}

function bytes(value: unknown, field: string): Uint8Array {
  if (typeof value !== "string" || !/^([0-9a-f]{2})+$/.test(value)) throw unknownMessage(field);
  return Buffer.from(value, "hex");
}

function isCounts(value: unknown): value is readonly number[] {
  return Array.isArray(value) && value.every(isCount);
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && Number(value) >= 0;
}

function unknownMessage(field: string): HoldfastError {
  return new HoldfastError(
    "INVALID_ARGUMENT",
    `the sidecar does not understand the ${field} that it was sent: use the Python module of the same package`,
  );
}
