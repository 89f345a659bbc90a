/* What programs that own CUDA memory call, and backend-cuda does not: bench/gpu is one. */
#include "standin.h"

#include <stdio.h>
#include <stdlib.h>

API cuDeviceGetName(char *name, int len, CUdevice dev) {
  ENTER();
  if (dev < 0 || dev >= settings.devices) return INVALID_DEVICE;
  snprintf(name, len, "stand-in %d", dev);
  return OK;
}

API cuMemHostAlloc(void **pp, size_t bytesize, unsigned int Flags) {
  ENTER_DEVICE();
  (void)device;
  if (posix_memalign(pp, 4096, bytesize)) return OUT_OF_MEMORY;
  return cuMemHostRegister_v2(*pp, bytesize, Flags);
}

API cuMemFreeHost(void *p) {
  ENTER_DEVICE();
  (void)device;
  int code = cuMemHostUnregister(p);
  if (!code) free(p);
  return code;
}

API cuMemcpyDtoDAsync_v2(CUdeviceptr dstDevice, CUdeviceptr srcDevice, size_t ByteCount, CUstream hStream) {
  return cuMemcpyAsync(dstDevice, srcDevice, ByteCount, hStream);
}

API cuMemcpyDtoHAsync_v2(void *dstHost, CUdeviceptr srcDevice, size_t ByteCount, CUstream hStream) {
  return cuMemcpyAsync((CUdeviceptr)dstHost, srcDevice, ByteCount, hStream);
}

API cuMemcpyHtoDAsync_v2(CUdeviceptr dstDevice, const void *srcHost, size_t ByteCount, CUstream hStream) {
  return cuMemcpyAsync(dstDevice, (CUdeviceptr)srcHost, ByteCount, hStream);
}
