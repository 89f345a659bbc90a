/* Memory and events of other processes. A handle says in which file of which process they are. */
#include "standin.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { OF_MEMORY = 0x49504d31, OF_EVENT = 0x49504531, PEER_ACCESS = 1 };

struct handle { int kind, pid, file; uint64_t offset, size; };
_Static_assert(sizeof(struct handle) <= 64, "a handle has 64 bytes");

static void put(char *reserved, struct handle handle) {
  memset(reserved, 0, 64);
  memcpy(reserved, &handle, sizeof handle);
}

/* OK, and the file; or why not. As with the real one, a process cannot open what it exported itself. */
static int open_file_of(const char *reserved, int kind, struct handle *handle, int *file) {
  memcpy(handle, reserved, sizeof *handle);
  if (handle->kind != kind) return INVALID_VALUE;
  if (handle->pid == getpid()) return INVALID_CONTEXT;
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/fd/%d", handle->pid, handle->file);
  *file = open(path, O_RDWR | O_CLOEXEC);
  return *file < 0 ? INVALID_HANDLE : OK;
}

API cuIpcGetMemHandle(CUipcMemHandle *pHandle, CUdeviceptr dptr) {
  ENTER_DEVICE();
  (void)device;
  pthread_mutex_lock(&lock);
  struct allocation *a = find_allocation(dptr, 1);
  int known = a && !a->foreign;
  if (known) {
    struct handle handle = {.kind = OF_MEMORY, .pid = getpid(), .size = a->size};
    handle.file = file_behind(a->base, &handle.offset);
    put(pHandle->reserved, handle);
  }
  pthread_mutex_unlock(&lock);
  return known ? OK : INVALID_VALUE;
}

API cuIpcOpenMemHandle_v2(CUdeviceptr *pdptr, CUipcMemHandle handle, unsigned int Flags) {
  ENTER_DEVICE();
  if (Flags != PEER_ACCESS) return INVALID_VALUE;
  struct handle of;
  int file, code = open_file_of(handle.reserved, OF_MEMORY, &of, &file);
  if (code) return code;
  pthread_mutex_lock(&lock);
  struct allocation *a = map_foreign(file, of.offset, of.size, device);
  pthread_mutex_unlock(&lock);
  close(file);
  if (a) *pdptr = a->base;
  return a ? OK : INVALID_VALUE;
}

API cuIpcCloseMemHandle(CUdeviceptr dptr) {
  int device = current_device();
  int code = entered(__func__, device);
  if (device < 0) return INVALID_CONTEXT;
  drain_device(device);
  pthread_mutex_lock(&lock);
  int known = unmap_foreign(dptr);
  pthread_mutex_unlock(&lock);
  return known ? code : INVALID_VALUE;
}

API cuIpcGetEventHandle(CUipcEventHandle *pHandle, CUevent event) {
  ENTER_DEVICE();
  (void)device;
  pthread_mutex_lock(&lock);
  int file = file_of_event(event);
  pthread_mutex_unlock(&lock);
  if (file < 0) return INVALID_HANDLE;
  put(pHandle->reserved, (struct handle){.kind = OF_EVENT, .pid = getpid(), .file = file});
  return OK;
}

API cuIpcOpenEventHandle(CUevent *phEvent, CUipcEventHandle handle) {
  ENTER_DEVICE();
  struct handle of;
  int file, code = open_file_of(handle.reserved, OF_EVENT, &of, &file);
  if (code) return code;
  *phEvent = event_of_file(file, device);
  return *phEvent ? OK : INVALID_VALUE;
}
