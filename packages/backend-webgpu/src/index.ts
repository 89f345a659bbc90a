export { webgpuBackend } from "./backend";
export type { WebGpuTensor } from "./tensor";
