/* Modules and kernels: the one kernel that we have is known by its name and done by hand. */
#include "standin.h"

#include <stdlib.h>
#include <string.h>

struct CUmod_st { int has_gather; };
struct CUfunc_st { int unused; };

static struct CUfunc_st gather;
static int modules;

int live_modules(void) { return modules; }

API cuModuleLoadData(CUmodule *module, const void *image) {
  ENTER_DEVICE();
  (void)device;
  if (!strstr(image, ".version") || !strstr(image, ".target")) return INVALID_PTX;
  *module = calloc(1, sizeof **module);
  (*module)->has_gather = strstr(image, ".entry holdfast_gather") != NULL;
  modules++;
  return OK;
}

API cuModuleUnload(CUmodule hmod) {
  int device = current_device();
  int code = entered(__func__, device);
  if (device < 0) return INVALID_CONTEXT;
  free(hmod);
  modules--;
  return code;
}

API cuModuleGetFunction(CUfunction *hfunc, CUmodule hmod, const char *name) {
  ENTER_DEVICE();
  (void)device;
  if (!hmod->has_gather || strcmp(name, "holdfast_gather")) return NOT_FOUND;
  *hfunc = &gather;
  return OK;
}

/* holdfast_gather: its parameter is a table of copies, one for each row of the grid; read when it is launched. */
API cuLaunchKernel(CUfunction f, unsigned int gridDimX, unsigned int gridDimY, unsigned int gridDimZ,
                   unsigned int blockDimX, unsigned int blockDimY, unsigned int blockDimZ, unsigned int sharedMemBytes,
                   CUstream hStream, void **kernelParams, void **extra) {
  ENTER_DEVICE();
  (void)sharedMemBytes;
  if (f != &gather || extra || !kernelParams) return INVALID_VALUE;
  if (!gridDimX || !gridDimY || gridDimZ != 1 || !blockDimX || blockDimX > 1024 || blockDimY != 1 || blockDimZ != 1)
    return INVALID_VALUE;
  struct copy *copies = malloc(gridDimY * sizeof *copies);
  memcpy(copies, kernelParams[0], gridDimY * sizeof *copies);
  return submit_copies(hStream, device, copies, gridDimY, 1);
}
