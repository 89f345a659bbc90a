/* Copies of all kinds: which way one goes follows from its addresses. */
#include "standin.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <errno.h>

static const size_t STRETCH = 1 << 20; /* a long copy lets others have the engine in between */
static pthread_mutex_t engines[3] = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_MUTEX_INITIALIZER, PTHREAD_MUTEX_INITIALIZER};
static long pageable;

long pageable_copies(void) { return pageable; }

uint64_t now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000000000ull + t.tv_nsec;
}

void sleep_until(uint64_t time) {
  struct timespec t = {time / 1000000000ull, time % 1000000000ull};
  while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR) {}
}

/* Whether all of it is there. Kernels, and copies that do not hold their caller, need host memory to be pinned. */
static int exists(uint64_t address, size_t size, int pinned, int device) { /* lock held */
  if (is_device_address(address)) return find_allocation(address, size) != NULL;
  return !pinned || is_pinned(address, size, device);
}

uint8_t *bytes_at(uint64_t address) {
  return is_device_address(address) ? shadow_of(address) : (uint8_t *)address;
}

static int run_copy(const struct copy *copy, int pinned, int device) {
  pthread_mutex_lock(&lock);
  int there = exists(copy->to, copy->size, pinned, device) && exists(copy->from, copy->size, pinned, device);
  pthread_mutex_unlock(&lock);
  if (!there) return ILLEGAL_ADDRESS;
  int way = !is_device_address(copy->to) ? 0 : !is_device_address(copy->from) ? 1 : 2;
  double gbps = (double[]){settings.d2h_gbps, settings.h2d_gbps, settings.d2d_gbps}[way];
  for (size_t at = 0; at < copy->size; at += STRETCH) {
    size_t size = copy->size - at < STRETCH ? copy->size - at : STRETCH;
    pthread_mutex_lock(&engines[way]);
    uint64_t begun = now();
    memcpy(bytes_at(copy->to) + at, bytes_at(copy->from) + at, size);
    if (gbps > 0) sleep_until(begun + (uint64_t)(size / gbps));
    pthread_mutex_unlock(&engines[way]);
  }
  return OK;
}

int run_copies(const struct work *work) {
  int code = OK, pinned = !work->owned && !work->pageable;
  for (size_t i = 0; i < work->count && !code; i++) code = run_copy(&work->copies[i], pinned, work->device);
  return code;
}

int run_set(const struct work *work) {
  pthread_mutex_lock(&lock);
  int there = exists(work->to, work->size, 1, work->device);
  pthread_mutex_unlock(&lock);
  if (!there) return ILLEGAL_ADDRESS;
  for (size_t at = 0; at < work->size; at += sizeof work->value)
    memcpy(bytes_at(work->to) + at, &work->value, sizeof work->value);
  return OK;
}

/* Takes `copies` over. A kernel that touches what is not there costs the context; a copy is refused. */
int submit_copies(CUstream stream, int device, struct copy *copies, size_t count, int by_kernel) {
  int there = 1, blocks = 0;
  pthread_mutex_lock(&lock);
  for (size_t i = 0; i < count; i++) {
    const uint64_t ends[] = {copies[i].to, copies[i].from};
    for (int end = 0; end < 2; end++) {
      there &= exists(ends[end], copies[i].size, by_kernel, device);
      blocks |= !is_device_address(ends[end]) && !is_pinned(ends[end], copies[i].size, device);
    }
  }
  pageable += blocks;
  if (!there && by_kernel) lost[device] = ILLEGAL_ADDRESS;
  pthread_mutex_unlock(&lock);
  if (!there || !count) {
    free(copies);
    return there || by_kernel ? OK : INVALID_VALUE;
  }
  struct work *work = calloc(1, sizeof *work);
  *work = (struct work){.kind = WORK_COPY, .copies = copies, .count = count, .by_kernel = by_kernel, .pageable = blocks};
  int code = submit(stream, device, work);
  return !code && blocks ? drain(stream, device) : code; /* pageable memory holds the caller */
}

API cuMemcpyAsync(CUdeviceptr dst, CUdeviceptr src, size_t ByteCount, CUstream hStream) {
  ENTER_DEVICE();
  struct copy *copy = malloc(sizeof *copy);
  *copy = (struct copy){dst, src, ByteCount};
  return submit_copies(hStream, device, copy, ByteCount ? 1 : 0, 0);
}

/* The value is taken now: no memory of the host has to stay as it is. */
API cuMemsetD32Async(CUdeviceptr dstDevice, unsigned int ui, size_t N, CUstream hStream) {
  ENTER_DEVICE();
  struct work *work = calloc(1, sizeof *work);
  *work = (struct work){.kind = WORK_SET, .to = dstDevice, .value = ui, .size = N * sizeof ui};
  return submit(hStream, device, work);
}

#if STANDIN_VERSION >= 12080
enum { SOURCE_IN_STREAM_ORDER = 1 };

static CUresult batch(CUdeviceptr *dsts, CUdeviceptr *srcs, size_t *sizes, size_t count, CUmemcpyAttributes *attrs,
                      size_t *attrsIdxs, size_t numAttrs, CUstream stream, int device) {
  if (!stream || !count || numAttrs != 1 || attrsIdxs[0] || attrs->srcAccessOrder != SOURCE_IN_STREAM_ORDER)
    return INVALID_VALUE;
  struct copy *copies = calloc(count, sizeof *copies);
  for (size_t i = 0; i < count; i++) {
    copies[i] = (struct copy){dsts[i], srcs[i], sizes[i]};
    if (sizes[i]) continue;
    free(copies);
    return INVALID_VALUE;
  }
  return submit_copies(stream, device, copies, count, 0);
}

PUBLIC CUresult cuMemcpyBatchAsync(CUdeviceptr *dsts, CUdeviceptr *srcs, size_t *sizes, size_t count, CUmemcpyAttributes *attrs,
                                   size_t *attrsIdxs, size_t numAttrs, size_t *failIdx, CUstream hStream) {
  ENTER_DEVICE();
  if (failIdx) *failIdx = SIZE_MAX;
  return batch(dsts, srcs, sizes, count, attrs, attrsIdxs, numAttrs, hStream, device);
}
#endif

#if STANDIN_VERSION >= 13000
API cuMemcpyBatchAsync_v2(CUdeviceptr *dsts, CUdeviceptr *srcs, size_t *sizes, size_t count, CUmemcpyAttributes *attrs,
                          size_t *attrsIdxs, size_t numAttrs, CUstream hStream) {
  ENTER_DEVICE();
  return batch(dsts, srcs, sizes, count, attrs, attrsIdxs, numAttrs, hStream, device);
}
#endif
