/** Memory and events of another process on the same machine, by CUDA's IPC handles. */
export { type IpcEvent, openIpcEvent } from "./event";
export type { IpcOptions } from "./handle";
export { type IpcMemory, openIpcMemory } from "./memory";
