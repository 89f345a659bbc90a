/** Memory and events of another process on the same machine, by CUDA's IPC handles, and which device they are of. */
export { deviceUuid } from "./device";
export { type IpcEvent, openIpcEvent } from "./event";
export type { IpcOptions } from "./handle";
export { type IpcMemory, openIpcMemory } from "./memory";
