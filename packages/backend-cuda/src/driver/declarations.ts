/**
 * The functions of the CUDA driver that we call: the parameters of each, as cuda.h declares them. All return a
 * CUresult. The versioned names are what today's cuda.h means; the bare ones are older ABIs.
 */
export const DECLARATIONS = {
  cuInit: "unsigned int Flags",
  cuDriverGetVersion: "int *driverVersion",
  cuGetErrorName: "CUresult error, const char **pStr",
  cuGetErrorString: "CUresult error, const char **pStr",

  cuDeviceGetCount: "int *count",
  cuDeviceGet: "CUdevice *device, int ordinal",
  cuDeviceGetUuid: "CUuuid *uuid, CUdevice dev",
  cuDevicePrimaryCtxRetain: "CUcontext *pctx, CUdevice dev",
  cuDevicePrimaryCtxRelease_v2: "CUdevice dev",
  cuCtxPushCurrent_v2: "CUcontext ctx",
  cuCtxPopCurrent_v2: "CUcontext *pctx",

  cuThreadExchangeStreamCaptureMode: "CUstreamCaptureMode *mode",
  cuStreamIsCapturing: "CUstream hStream, CUstreamCaptureStatus *captureStatus",

  cuStreamCreate: "CUstream *phStream, unsigned int Flags",
  cuStreamDestroy_v2: "CUstream hStream",
  cuStreamSynchronize: "CUstream hStream",
  cuStreamWaitEvent: "CUstream hStream, CUevent hEvent, unsigned int Flags",
  cuEventCreate: "CUevent *phEvent, unsigned int Flags",
  cuEventRecord: "CUevent hEvent, CUstream hStream",
  cuEventQuery: "CUevent hEvent",
  cuEventDestroy_v2: "CUevent hEvent",

  cuMemAlloc_v2: "CUdeviceptr *dptr, size_t bytesize",
  cuMemFree_v2: "CUdeviceptr dptr",
  cuMemGetInfo_v2: "size_t *free, size_t *total",
  cuMemHostRegister_v2: "void *p, size_t bytesize, unsigned int Flags",
  cuMemHostUnregister: "void *p",
  cuMemHostGetDevicePointer_v2: "CUdeviceptr *pdptr, void *p, unsigned int Flags",
  cuPointerGetAttributes:
    "unsigned int numAttributes, CUpointer_attribute *attributes, void **data, CUdeviceptr ptr",

  cuIpcOpenMemHandle_v2: "CUdeviceptr *pdptr, CUipcMemHandle handle, unsigned int Flags",
  cuIpcCloseMemHandle: "CUdeviceptr dptr",
  cuIpcOpenEventHandle: "CUevent *phEvent, CUipcEventHandle handle",

  cuMemcpyAsync: "CUdeviceptr dst, CUdeviceptr src, size_t ByteCount, CUstream hStream",
  // CUDA 12.8
  cuMemcpyBatchAsync:
    "CUdeviceptr *dsts, CUdeviceptr *srcs, size_t *sizes, size_t count, CUmemcpyAttributes *attrs, size_t *attrsIdxs, size_t numAttrs, size_t *failIdx, CUstream hStream",
  // CUDA 13.0
  cuMemcpyBatchAsync_v2:
    "CUdeviceptr *dsts, CUdeviceptr *srcs, size_t *sizes, size_t count, CUmemcpyAttributes *attrs, size_t *attrsIdxs, size_t numAttrs, CUstream hStream",

  cuModuleLoadData: "CUmodule *module, const void *image",
  cuModuleUnload: "CUmodule hmod",
  cuModuleGetFunction: "CUfunction *hfunc, CUmodule hmod, const char *name",
  cuLaunchKernel:
    "CUfunction f, unsigned int gridDimX, unsigned int gridDimY, unsigned int gridDimZ, unsigned int blockDimX, unsigned int blockDimY, unsigned int blockDimZ, unsigned int sharedMemBytes, CUstream hStream, void **kernelParams, void **extra",
} as const;

type Declarations = typeof DECLARATIONS;
export type FunctionName = keyof Declarations;

/** Passed by value, unlike the handles that are pointers: the type that koffi has to be told, and its bytes. */
export const IPC_HANDLE = "struct { char reserved[64]; }";
interface IpcHandle {
  readonly reserved: Uint8Array;
}

/** What is passed for a parameter: memory for a pointer, a number for a number, either kind for an address or handle. */
type Parameter<C extends string> = C extends `${string}*${string}`
  ? ArrayBufferView | null
  : C extends `CUipc${string}`
    ? IpcHandle
    : NumberFor<C>;

type NumberFor<C extends string> =
  C extends `${"int" | "unsigned int" | "size_t" | "CUdevice" | "CUresult"} ${string}`
    ? number
    : number | bigint;

type ParametersIn<C extends string> = C extends `${infer First}, ${infer Rest}`
  ? [Parameter<First>, ...ParametersIn<Rest>]
  : [Parameter<C>];

export type ParametersOf<F extends FunctionName> = ParametersIn<Declarations[F]>;

/** The types of a function's parameters by the names that koffi has for them: its own, which are of this process alone. */
export function foreignTypes(name: FunctionName): readonly string[] {
  return DECLARATIONS[name].split(", ").map(foreignType);
}

function foreignType(parameter: string): string {
  if (parameter.includes("*")) return "void *";
  const type = parameter.slice(0, parameter.lastIndexOf(" "));
  if (type === "int" || type === "CUdevice" || type === "CUresult") return "int";
  if (type === "unsigned int") return "uint32";
  if (type.startsWith("CUipc")) return IPC_HANDLE;
  return type === "size_t" ? "size_t" : "uint64"; // handles are pointers that only the driver looks behind
}
