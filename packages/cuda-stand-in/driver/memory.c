/* Memory of the devices, and pinned memory of the host. */
#define _GNU_SOURCE
#include "standin.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static const uint64_t SPAN = 1ull << 40; /* of addresses, for all devices */
static const uint64_t GRAIN = 2 << 20; /* allocations begin at multiples; those of other sizes have as much behind them */

struct registration { uint64_t base; size_t size; int device, portable; struct registration *next; };

static struct allocation *allocations;
static struct registration *registrations;
static uint64_t device_base, next_offset;
static uint8_t *shadow;
static int shadow_file = -1; /* a file, so that another process can map it */
static size_t used[MAX_DEVICES], peak;

void reserve_addresses(void) {
  shadow_file = memfd_create("cuda-stand-in", MFD_CLOEXEC);
  if (shadow_file < 0 || ftruncate(shadow_file, SPAN)) abort();
  void *guarded = mmap(NULL, SPAN, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  shadow = mmap(NULL, SPAN, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, shadow_file, 0);
  if (guarded == MAP_FAILED || shadow == MAP_FAILED) abort();
  device_base = (uint64_t)guarded;
  next_offset = GRAIN;
}

int is_device_address(uint64_t address) { return address >= device_base && address - device_base < SPAN; }
uint8_t *shadow_of(uint64_t address) { return shadow + (address - device_base); }

struct allocation *find_allocation(uint64_t address, size_t size) {
  for (struct allocation *a = allocations; a; a = a->next)
    if (address >= a->base && address + size <= a->base + a->size) return a->freed ? NULL : a;
  return NULL;
}

int is_pinned(uint64_t address, size_t size, int device) {
  for (struct registration *r = registrations; r; r = r->next)
    if ((r->portable || r->device == device) && address >= r->base && address + size <= r->base + r->size) return 1;
  return 0;
}

static struct allocation *new_allocation(size_t size, int device) { /* lock held */
  struct allocation *a = calloc(1, sizeof *a);
  *a = (struct allocation){.base = device_base + next_offset, .size = size, .device = device, .next = allocations};
  allocations = a;
  /* As the real one's, those of whole multiples lie side by side; a copy that spans two is refused. */
  next_offset += size % GRAIN ? ((size + GRAIN - 1) & ~(GRAIN - 1)) + GRAIN : size;
  return a;
}

int file_behind(uint64_t address, uint64_t *offset) {
  *offset = address - device_base;
  return shadow_file;
}

struct allocation *map_foreign(int file, uint64_t offset, size_t size, int device) {
  struct allocation *a = new_allocation(size, device);
  a->foreign = 1;
  void *at = mmap(shadow_of(a->base), size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, file, offset);
  if (at != MAP_FAILED) return a;
  a->freed = 1;
  return NULL;
}

static void free_allocation(struct allocation *a) { /* lock held */
  a->freed = 1;
  if (a->foreign) { /* whoever still reads it finds nothing there */
    mmap(shadow_of(a->base), a->size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    return;
  }
  used[a->device] -= a->size;
  fallocate(shadow_file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, a->base - device_base, a->size);
}

int unmap_foreign(uint64_t base) {
  struct allocation *a = find_allocation(base, 1);
  if (!a || a->base != base || !a->foreign) return 0;
  free_allocation(a);
  return 1;
}

void free_memory_of(int device) {
  pthread_mutex_lock(&lock);
  for (struct allocation *a = allocations; a; a = a->next)
    if (a->device == device && !a->freed) free_allocation(a);
  for (struct registration **at = &registrations; *at;) {
    struct registration *r = *at;
    if (r->device == device) *at = r->next, free(r);
    else at = &r->next;
  }
  pthread_mutex_unlock(&lock);
}

API cuMemAlloc_v2(CUdeviceptr *dptr, size_t bytesize) {
  ENTER_DEVICE();
  if (!bytesize) return INVALID_VALUE;
  size_t size = (bytesize + 511) & ~511ull;
  pthread_mutex_lock(&lock);
  int full = used[device] + size > settings.device_memory || next_offset + size > SPAN;
  if (!full) {
    struct allocation *a = new_allocation(size, device);
    used[device] += size;
    size_t total = 0;
    for (int i = 0; i < MAX_DEVICES; i++) total += used[i];
    if (total > peak) peak = total;
    *dptr = a->base;
  }
  pthread_mutex_unlock(&lock);
  return full ? OUT_OF_MEMORY : OK;
}

/* Waits for the device, as the real one mostly does. */
API cuMemFree_v2(CUdeviceptr dptr) {
  int device = current_device();
  int code = entered(__func__, device);
  if (device < 0) return INVALID_CONTEXT;
  if (!settings.eager_free) drain_device(device);
  pthread_mutex_lock(&lock);
  struct allocation *a = find_allocation(dptr, 1);
  int known = a && a->base == dptr && !a->foreign;
  if (known) free_allocation(a);
  pthread_mutex_unlock(&lock);
  return known ? code : INVALID_VALUE;
}

API cuMemGetInfo_v2(size_t *free, size_t *total) {
  ENTER_DEVICE();
  *free = settings.device_memory - used[device];
  *total = settings.device_memory;
  return OK;
}

API cuMemHostRegister_v2(void *p, size_t bytesize, unsigned int Flags) {
  ENTER_DEVICE();
  uint64_t base = (uint64_t)p;
  pthread_mutex_lock(&lock);
  int taken = 0;
  for (struct registration *r = registrations; r; r = r->next)
    taken |= base < r->base + r->size && r->base < base + bytesize;
  if (!taken) {
    struct registration *r = malloc(sizeof *r);
    *r = (struct registration){base, bytesize, device, Flags & HOST_REGISTER_PORTABLE, registrations};
    registrations = r;
  }
  pthread_mutex_unlock(&lock);
  return taken ? ALREADY_REGISTERED : OK;
}

API cuMemHostUnregister(void *p) {
  int device = current_device();
  int code = entered(__func__, device);
  if (device < 0) return INVALID_CONTEXT;
  int found = 0;
  pthread_mutex_lock(&lock);
  for (struct registration **at = &registrations; *at && !found;) {
    struct registration *r = *at;
    if (r->base == (uint64_t)p) found = 1, *at = r->next, free(r);
    else at = &r->next;
  }
  pthread_mutex_unlock(&lock);
  return found ? code : NOT_REGISTERED;
}

API cuMemHostGetDevicePointer_v2(CUdeviceptr *pdptr, void *p, unsigned int Flags) {
  ENTER_DEVICE();
  (void)Flags;
  pthread_mutex_lock(&lock);
  int pinned = is_pinned((uint64_t)p, 1, device);
  pthread_mutex_unlock(&lock);
  *pdptr = (CUdeviceptr)p;
  return pinned ? OK : INVALID_VALUE;
}

enum { MEMORY_TYPE = 2, DEVICE_ORDINAL = 9, RANGE_START = 11, RANGE_SIZE = 12 };

/* As the real one: a pointer that CUDA does not know is no error, its attributes are zeros. */
API cuPointerGetAttributes(unsigned int numAttributes, CUpointer_attribute *attributes, void **data, CUdeviceptr ptr) {
  ENTER_DEVICE();
  pthread_mutex_lock(&lock);
  struct allocation *a = find_allocation(ptr, 1);
  int host = !a && is_pinned(ptr, 1, device), code = OK;
  for (unsigned int i = 0; i < numAttributes; i++) {
    switch ((int)attributes[i]) {
      case MEMORY_TYPE: *(unsigned int *)data[i] = a ? 2 : host; break;
      case DEVICE_ORDINAL: *(int *)data[i] = a ? a->device : host ? 0 : -2; break;
      case RANGE_START: *(CUdeviceptr *)data[i] = a ? a->base : 0; break;
      case RANGE_SIZE: *(size_t *)data[i] = a ? a->size : 0; break;
      default: code = NOT_SUPPORTED;
    }
  }
  pthread_mutex_unlock(&lock);
  return code;
}

int write_memory(char *text, size_t room) {
  int live = 0, pins = 0;
  size_t pinned = 0, total = 0;
  for (struct allocation *a = allocations; a; a = a->next) live += !a->freed;
  for (struct registration *r = registrations; r; r = r->next) pins++, pinned += r->size;
  for (int i = 0; i < MAX_DEVICES; i++) total += used[i];
  return snprintf(text, room, "\"allocations\":%d,\"deviceBytes\":%zu,\"peakDeviceBytes\":%zu,\"pins\":%d,\"pinnedBytes\":%zu",
                  live, total, peak, pins, pinned);
}
