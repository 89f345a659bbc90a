/* Modules and kernels: those that we have are known by their names and done by hand. */
#include "standin.h"

#include <stdlib.h>
#include <string.h>

struct CUfunc_st {
  const char *name;
  /* Reads the parameters, as the real one does when it is launched, and queues what the kernel does. */
  int (*launch)(CUstream stream, int device, unsigned int rows, void **parameters);
};
struct CUmod_st { char *image; };

static int modules;

int live_modules(void) { return modules; }

/* holdfast_gather, of backend-cuda: its parameter is a table of copies, one for each row of the grid. */
static int launch_gather(CUstream stream, int device, unsigned int rows, void **parameters) {
  struct copy *copies = malloc(rows * sizeof *copies);
  memcpy(copies, parameters[0], rows * sizeof *copies);
  return submit_copies(stream, device, copies, rows, 1);
}

/* holdfast_bench_fill, of bench/gpu: word i becomes a number that follows from i and the seed. */
static int run_fill(const struct work *work) {
  pthread_mutex_lock(&lock);
  int there = find_allocation(work->to, work->size) != NULL;
  pthread_mutex_unlock(&lock);
  if (!there) return ILLEGAL_ADDRESS;
  uint32_t *words = (uint32_t *)bytes_at(work->to);
  for (size_t i = 0; i < work->size / 4; i++) {
    uint32_t x = ((uint32_t)i + work->value) * 2654435761u;
    words[i] = x ^ (x >> 15);
  }
  return OK;
}

static int launch_fill(CUstream stream, int device, unsigned int rows, void **parameters) {
  (void)rows;
  struct work *work = calloc(1, sizeof *work);
  *work = (struct work){.kind = WORK_KERNEL, .kernel = run_fill, .to = *(uint64_t *)parameters[0],
                        .size = 4 * *(uint64_t *)parameters[1], .value = *(uint32_t *)parameters[2]};
  return submit(stream, device, work);
}

/* holdfast_bench_spin, of bench/gpu: lasts so many nanoseconds. */
static int run_spin(const struct work *work) {
  sleep_until(now() + work->to);
  return OK;
}

static int launch_spin(CUstream stream, int device, unsigned int rows, void **parameters) {
  (void)rows;
  struct work *work = calloc(1, sizeof *work);
  *work = (struct work){.kind = WORK_KERNEL, .kernel = run_spin, .to = *(uint64_t *)parameters[0]};
  return submit(stream, device, work);
}

static struct CUfunc_st kernels[] = {
  {"holdfast_gather", launch_gather}, {"holdfast_bench_fill", launch_fill}, {"holdfast_bench_spin", launch_spin},
};
enum { KERNELS = sizeof kernels / sizeof *kernels };

API cuModuleLoadData(CUmodule *module, const void *image) {
  ENTER_DEVICE();
  (void)device;
  if (!strstr(image, ".version") || !strstr(image, ".target")) return INVALID_PTX;
  *module = calloc(1, sizeof **module);
  (*module)->image = strdup(image);
  modules++;
  return OK;
}

API cuModuleUnload(CUmodule hmod) {
  int device = current_device();
  int code = entered(__func__, device);
  if (device < 0) return INVALID_CONTEXT;
  if (settings.eager_free && has_kernels(device)) lost[device] = ILLEGAL_ADDRESS; /* their code is gone */
  free(hmod->image);
  free(hmod);
  modules--;
  return code;
}

/* Whether the PTX has the kernel: `.entry NAME(`. */
static int has_entry(const char *image, const char *name) {
  static const char entry[] = ".entry ";
  for (const char *at = image; (at = strstr(at, entry));) {
    at += sizeof entry - 1;
    if (!strncmp(at, name, strlen(name)) && at[strlen(name)] == '(') return 1;
  }
  return 0;
}

API cuModuleGetFunction(CUfunction *hfunc, CUmodule hmod, const char *name) {
  ENTER_DEVICE();
  (void)device;
  for (int i = 0; i < KERNELS; i++)
    if (!strcmp(kernels[i].name, name) && has_entry(hmod->image, name)) return *hfunc = &kernels[i], OK;
  return NOT_FOUND;
}

API cuLaunchKernel(CUfunction f, unsigned int gridDimX, unsigned int gridDimY, unsigned int gridDimZ,
                   unsigned int blockDimX, unsigned int blockDimY, unsigned int blockDimZ, unsigned int sharedMemBytes,
                   CUstream hStream, void **kernelParams, void **extra) {
  ENTER_DEVICE();
  (void)sharedMemBytes;
  if (f < kernels || f >= kernels + KERNELS || extra || !kernelParams) return INVALID_VALUE;
  if (!gridDimX || !gridDimY || gridDimZ != 1 || !blockDimX || blockDimX > 1024 || blockDimY != 1 || blockDimZ != 1)
    return INVALID_VALUE;
  return f->launch(hStream, device, gridDimY, kernelParams);
}
