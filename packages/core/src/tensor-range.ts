import type { TensorRange } from "./backend";
import { HoldfastError } from "./errors";

/**
 * Where the tensor of a range lies, for a backend that has its tensors' places by name.
 * @throws HoldfastError `INVALID_ARGUMENT` if there is no such tensor, or it has no such bytes
 */
export function locationOf<Location extends { readonly byteLength: number }>(
  { name, start, end }: TensorRange,
  locations: ReadonlyMap<string, Location>,
): Location {
  const location = locations.get(name);
  if (!location) throw new HoldfastError("INVALID_ARGUMENT", `the snapshot has no tensor ${name}`);
  const whole = Number.isSafeInteger(start) && Number.isSafeInteger(end);
  if (!whole || start < 0 || end < start || end > location.byteLength) {
    throw new HoldfastError(
      "INVALID_ARGUMENT",
      `tensor ${name} has ${location.byteLength} bytes, and not the range [${start}, ${end})`,
    );
  }
  return location;
}
