import { HoldfastError } from "@holdfast/core";
import { type DeviceContext, type Handle, SUCCESS } from "./driver";

/** CUDA_ERROR_STREAM_CAPTURE_IMPLICIT: the stream is the legacy one, and one that it would wait for is captured. */
const CAPTURE_IMPLICIT = 906;

/**
 * What is queued on a stream that is being captured becomes a part of a CUDA graph, and does not happen now.
 * @throws HoldfastError `UNSUPPORTED` if `stream` is; what the driver fails with
 */
export function refuseCapture(context: DeviceContext, stream: Handle): void {
  const { driver } = context;
  const status = new Int32Array(1);
  const code = context.run(() => {
    const result = driver.status("cuStreamIsCapturing", stream, status);
    if (result !== SUCCESS && result !== CAPTURE_IMPLICIT)
      throw driver.failure("cuStreamIsCapturing", result);
    return result;
  });
  if (code === SUCCESS && status[0] === 0) return;
  throw new HoldfastError(
    "UNSUPPORTED",
    "the training stream is being captured into a CUDA graph: save and restore before the capture begins, or after it ended",
  );
}
