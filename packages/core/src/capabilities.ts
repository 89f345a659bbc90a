import { HoldfastError } from "./errors";
import type { Sink } from "./sink";

/** @throws HoldfastError `UNSUPPORTED` if the sink cannot do all that `what` needs */
export function requireCapabilities(
  { name, capabilities }: Sink,
  what: string,
  needed: readonly ("list" | "read" | "delete")[],
): void {
  const missing = needed.filter((capability) => !capabilities[capability]);
  if (missing.length === 0) return;
  const able = [needed.slice(0, -1).join(", "), ...needed.slice(-1)]
    .filter((part) => part !== "")
    .join(" and ");
  throw new HoldfastError(
    "UNSUPPORTED",
    `${what} needs a sink that can ${able}; ${name} cannot ${missing.join(", ")}`,
  );
}
