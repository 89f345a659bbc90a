import type { Backend } from "../../backend";
import { DTYPES, type DType, type TensorSpec } from "../../tensor";

/** A backend, and what a training program does to its tensors: for one case. */
export interface BackendFixture<T> {
  readonly backend: Backend<T>;
  /** The dtypes that it takes; all of safetensors where it does not say. */
  readonly dtypes?: readonly DType[];
  /** Makes a tensor of these contents: little-endian, C order, exactly as long as `spec` takes. */
  create(spec: TensorSpec, bytes: Uint8Array): Promise<T>;
  /** Reads a tensor's contents, as the program would see them. */
  bytes(tensor: T): Promise<Uint8Array>;
  /**
   * Gives a tensor new contents as a step of training does, and returns the tensor that has them: the same
   * one, or, where tensors are immutable, a new one; then the old one is freed as training frees it.
   */
  overwrite(tensor: T, bytes: Uint8Array): Promise<T>;
  /** Frees all tensors, and the device. The backend was closed before. */
  dispose?(): Promise<void>;
}

/** The backend that is to be tested. */
export interface BackendSuite<T> {
  /** For the report. */
  readonly name: string;
  /** Called for each case. */
  open(): Promise<BackendFixture<T>>;
}

/** Registers the cases of one group; each gets a fixture of its own, which is closed when it ends. */
export interface BackendCases {
  readonly test: (title: string, body: <T>(fixture: BackendFixture<T>) => Promise<void>) => void;
}

export async function runBackendCase<T>(
  suite: BackendSuite<T>,
  body: (fixture: BackendFixture<T>) => Promise<void>,
): Promise<void> {
  const fixture = await suite.open();
  try {
    await body(fixture);
  } finally {
    fixture.backend.close?.();
    await fixture.dispose?.();
  }
}

export function dtypesOf({ dtypes = DTYPES }: BackendFixture<unknown>): readonly DType[] {
  return dtypes;
}
