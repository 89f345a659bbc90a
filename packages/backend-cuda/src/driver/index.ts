/** The CUDA driver: loading it, calling it, what its failures mean, and the context that calls are made in. */
export { DeviceContext } from "./context";
export type { FunctionName } from "./declarations";
export type { Driver, Handle } from "./driver";
export { ALREADY_REGISTERED, CudaError, INVALID_VALUE, NOT_READY, NOT_SUPPORTED, SUCCESS } from "./errors";
export { loadDriver } from "./load";
