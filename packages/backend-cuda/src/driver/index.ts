/** The CUDA driver: loading it, calling it, what its failures mean, and the context that calls are made in. */
export { DeviceContext } from "./context";
export { DECLARATIONS, type FunctionName } from "./declarations";
export type { Driver, Handle } from "./driver";
export { ALREADY_REGISTERED, CudaError, NOT_READY, OUT_OF_MEMORY, SUCCESS } from "./errors";
export { loadDriver } from "./load";
