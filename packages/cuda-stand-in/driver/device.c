/* Devices, and their primary contexts. Only these: whoever shares a device with PyTorch uses no other. */
#include "standin.h"

#include <stdlib.h>

struct CUctx_st { int device, references; };

int lost[MAX_DEVICES];
static struct CUctx_st primary[MAX_DEVICES];
static int initialized;
static __thread CUcontext stack[16];
static __thread int depth;

int current_device(void) { return depth > 0 && stack[depth - 1] ? stack[depth - 1]->device : -1; }
int context_depth(void) { return depth; }

int primary_references(void) {
  int sum = 0;
  for (int i = 0; i < MAX_DEVICES; i++) sum += primary[i].references;
  return sum;
}

API cuInit(unsigned int Flags) {
  pthread_mutex_lock(&lock);
  int first = !initialized;
  initialized = 1;
  pthread_mutex_unlock(&lock);
  if (first) {
    read_settings();
    reserve_addresses();
    start_legacy_streams(MAX_DEVICES);
  }
  ENTER();
  if (settings.devices < 1) return NO_DEVICE;
  return Flags ? INVALID_VALUE : OK;
}

API cuDriverGetVersion(int *driverVersion) {
  ENTER();
  *driverVersion = settings.driver_version;
  return OK;
}

API cuDeviceGetCount(int *count) {
  ENTER();
  if (!initialized) return NOT_INITIALIZED;
  *count = settings.devices;
  return OK;
}

API cuDeviceGet(CUdevice *device, int ordinal) {
  ENTER();
  if (!initialized) return NOT_INITIALIZED;
  if (ordinal < 0 || ordinal >= settings.devices) return INVALID_DEVICE;
  *device = ordinal;
  return OK;
}

API cuDeviceGetUuid(CUuuid *uuid, CUdevice dev) {
  ENTER();
  if (dev < 0 || dev >= settings.devices) return INVALID_DEVICE;
  for (size_t i = 0; i < sizeof uuid->bytes; i++) uuid->bytes[i] = 16 * ((int)settings.first_device + dev) + i;
  return OK;
}

API cuDevicePrimaryCtxRetain(CUcontext *pctx, CUdevice dev) {
  ENTER();
  if (dev < 0 || dev >= settings.devices) return INVALID_DEVICE;
  pthread_mutex_lock(&lock);
  primary[dev].device = dev;
  primary[dev].references++;
  pthread_mutex_unlock(&lock);
  *pctx = &primary[dev];
  return OK;
}

API cuCtxSynchronize(void) {
  ENTER_DEVICE();
  drain_device(device);
  return lost[device];
}

/* What gives something back does so even where it reports a failure, which may be one of earlier work. */
API cuDevicePrimaryCtxRelease_v2(CUdevice dev) {
  int code = entered(__func__, -1);
  pthread_mutex_lock(&lock);
  int live = dev >= 0 && dev < MAX_DEVICES && primary[dev].references > 0;
  int last = live && --primary[dev].references == 0;
  pthread_mutex_unlock(&lock);
  if (!live) return INVALID_CONTEXT;
  if (last) { /* the context goes, and all that belongs to it, whoever still uses that */
    free_streams_of(dev);
    free_memory_of(dev);
    lost[dev] = OK;
  }
  return code;
}

API cuCtxPushCurrent_v2(CUcontext ctx) {
  ENTER();
  if (depth == sizeof stack / sizeof *stack) return INVALID_VALUE;
  if (!ctx->references) return INVALID_CONTEXT;
  stack[depth++] = ctx;
  return OK;
}

API cuCtxPopCurrent_v2(CUcontext *pctx) {
  int code = entered(__func__, -1);
  if (!depth) return INVALID_CONTEXT;
  depth--;
  if (pctx) *pctx = stack[depth];
  return code;
}
