/* What only tests call: the training program's part, and what the driver knows of itself. */
#include "standin.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Queues a write of these bytes, as a step of training does: it happens in the stream's order. */
PUBLIC int standinWrite(CUstream stream, uint64_t to, const void *bytes, size_t size) {
  int device = current_device();
  if (device < 0) return INVALID_CONTEXT;
  if (!size) return OK;
  struct work *work = calloc(1, sizeof *work);
  *work = (struct work){.kind = WORK_COPY, .copies = malloc(sizeof *work->copies), .count = 1, .owned = malloc(size)};
  memcpy(work->owned, bytes, size);
  work->copies[0] = (struct copy){to, (uint64_t)work->owned, size};
  return submit(stream, device, work);
}

/* What the memory holds once the stream has done everything. */
PUBLIC int standinRead(CUstream stream, uint64_t from, void *bytes, size_t size) {
  int device = current_device();
  if (device < 0) return INVALID_CONTEXT;
  int code = drain(stream, device);
  pthread_mutex_lock(&lock);
  if (!code && size && !find_allocation(from, size)) code = INVALID_VALUE;
  if (!code && size) memcpy(bytes, shadow_of(from), size);
  pthread_mutex_unlock(&lock);
  return code;
}

/* JSON: what is live, what was called how often. The length that it has, or would have. */
PUBLIC int standinStatistics(char *text, int room) {
  pthread_mutex_lock(&lock);
  int length = snprintf(text, room, "{");
  length += write_memory(text + length, room - length);
  length += snprintf(text + length, room - length, ",");
  length += write_streams(text + length, room - length);
  length += snprintf(text + length, room - length,
                     ",\"modules\":%d,\"contexts\":%d,\"contextDepth\":%d,\"captureMode\":%d,\"pageableCopies\":%ld,\"calls\":{",
                     live_modules(), primary_references(), context_depth(), capture_mode(), pageable_copies());
  length += write_calls(text + length, room - length);
  length += snprintf(text + length, room - length, "}}");
  pthread_mutex_unlock(&lock);
  return length;
}
