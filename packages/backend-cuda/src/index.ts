export { type CudaBackendOptions, cudaBackend } from "./backend";
export type { CudaTensor } from "./tensor";
