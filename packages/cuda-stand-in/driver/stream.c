/* Streams and events: every stream is a FIFO that a thread of its own works off. */
#define _GNU_SOURCE
#include "standin.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

struct CUstream_st {
  unsigned int magic, flags;
  int device, stopped;
  struct work *head, *tail;
  size_t pending;
  pthread_t thread;
  struct CUstream_st *next;
};

/* One record of an event. Whoever waits, waits for the record that was the last when the wait was queued. */
struct mark {
  int references, done, by_training, foreign; /* foreign: recorded by another process */
  uint64_t time;
  struct shared_event *shared; /* NULL if no other process sees it; never unmapped */
  uint64_t ticket; /* which record of the shared event */
};

struct CUevent_st {
  unsigned int magic;
  int device, file; /* file: of the shared event, or -1 */
  struct shared_event *shared;
  struct mark *last; /* NULL if it was never recorded */
};

pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static CUstream streams, legacy[MAX_DEVICES];
static int live_events;

static int is_ours(CUstream stream) { return stream->flags & STREAM_NON_BLOCKING; }
static int is_held(CUstream stream) { return (int)settings.held & (is_ours(stream) ? HOLD_OURS : HOLD_TRAINING); }

static void pause_before(void) { /* without the lock */
  double us = settings.op_us;
  if (settings.jitter_us > 0) {
    pthread_mutex_lock(&lock);
    unsigned int seed = settings.seed;
    us += rand_r(&seed) % (long)settings.jitter_us;
    settings.seed = seed;
    pthread_mutex_unlock(&lock);
  }
  if (us < 1) return;
  struct timespec left = {us / 1e6, (long)(us * 1e3) % 1000000000};
  while (nanosleep(&left, &left) && errno == EINTR) {}
}

static void unreference(struct mark *mark) { /* lock held */
  if (mark && --mark->references == 0) free(mark);
}

static int is_done(const struct mark *mark) {
  return mark->done || (mark->foreign && __atomic_load_n(&mark->shared->done, __ATOMIC_ACQUIRE) >= mark->ticket);
}

static void wait_for(const struct mark *mark) { /* lock held; returns now and then */
  if (!mark->foreign) {
    pthread_cond_wait(&changed, &lock);
    return;
  }
  struct timespec until; /* another process does not wake us */
  clock_gettime(CLOCK_REALTIME, &until);
  until.tv_nsec += 200000;
  if (until.tv_nsec >= 1000000000) until.tv_sec++, until.tv_nsec -= 1000000000;
  pthread_cond_timedwait(&changed, &lock, &until);
}

static void run(CUstream stream, struct work *work) { /* without the lock */
  pthread_mutex_lock(&lock);
  int moves = work->kind <= WORK_KERNEL, code = lost[stream->device];
  int broken = code;
  if (moves && !broken) code = work_fault();
  pthread_mutex_unlock(&lock);
  if (moves && !broken) {
    pause_before();
    if (!code) code = work->kind == WORK_COPY ? run_copies(work) : work->kind == WORK_SET ? run_set(work) : work->kernel(work);
  }
  pthread_mutex_lock(&lock);
  if (code && !lost[stream->device]) lost[stream->device] = code;
  if (work->kind == WORK_WAIT) {
    while (!is_done(work->mark) && !lost[stream->device]) wait_for(work->mark);
    unreference(work->mark);
  }
  if (work->kind == WORK_RECORD) {
    struct mark *mark = work->mark;
    mark->done = 1;
    mark->time = now();
    if (mark->shared && mark->shared->done < mark->ticket)
      __atomic_store_n(&mark->shared->done, mark->ticket, __ATOMIC_RELEASE);
    unreference(work->mark);
  }
  stream->head = work->next;
  if (!stream->head) stream->tail = NULL;
  stream->pending--;
  pthread_cond_broadcast(&changed);
  pthread_mutex_unlock(&lock);
  free(work->copies);
  free(work->owned);
  free(work);
}

static void *work_off(void *argument) {
  CUstream stream = argument;
  for (;;) {
    pthread_mutex_lock(&lock);
    while ((!stream->head || is_held(stream)) && !(stream->stopped && !stream->head)) pthread_cond_wait(&changed, &lock);
    struct work *work = stream->head;
    pthread_mutex_unlock(&lock);
    if (!work) return NULL;
    run(stream, work);
  }
}

static CUstream start(unsigned int flags, int device) { /* lock held */
  CUstream stream = calloc(1, sizeof *stream);
  *stream = (struct CUstream_st){.magic = MAGIC_STREAM, .flags = flags, .device = device, .next = streams};
  streams = stream;
  pthread_create(&stream->thread, NULL, work_off, stream);
  pthread_detach(stream->thread);
  return stream;
}

void start_legacy_streams(int devices) {
  pthread_mutex_lock(&lock);
  for (int i = 0; i < devices; i++) legacy[i] = start(0, i);
  pthread_mutex_unlock(&lock);
}

/* The stream behind a handle, or NULL. 0 and 1 are the legacy stream, 2 the thread's own, which we do not tell apart. */
static CUstream stream_of(CUstream handle, int device) { /* lock held */
  if ((uintptr_t)handle <= 2) return legacy[device];
  for (CUstream s = streams; s; s = s->next)
    if (s == handle) return s->magic == MAGIC_STREAM && s->device == device ? s : NULL;
  return NULL;
}

static void append(CUstream stream, struct work *work) { /* lock held */
  work->next = NULL;
  if (stream->tail) stream->tail->next = work;
  else stream->head = work;
  stream->tail = work;
  stream->pending++;
  pthread_cond_broadcast(&changed);
}

static void append_mark(CUstream stream, enum work_kind kind, struct mark *mark) { /* lock held */
  struct work *work = calloc(1, sizeof *work);
  mark->references++;
  *work = (struct work){.kind = kind, .mark = mark};
  append(stream, work);
}

static struct mark *new_mark(CUstream stream, struct shared_event *shared) { /* lock held */
  struct mark *mark = calloc(1, sizeof *mark);
  *mark = (struct mark){.references = 1, .by_training = !is_ours(stream), .shared = shared};
  if (shared) mark->ticket = __atomic_add_fetch(&shared->recorded, 1, __ATOMIC_ACQ_REL);
  append_mark(stream, WORK_RECORD, mark);
  return mark;
}

static void order_after(CUstream later, CUstream earlier) { /* lock held */
  if (!earlier->pending) return;
  struct mark *mark = new_mark(earlier, NULL);
  append_mark(later, WORK_WAIT, mark);
  unreference(mark);
}

/* The legacy stream waits for every blocking stream of its device, and they wait for it. */
static void keep_legacy_order(CUstream stream) { /* lock held */
  CUstream own = legacy[stream->device];
  if (is_ours(stream)) return;
  if (stream != own) order_after(stream, own);
  else for (CUstream s = streams; s; s = s->next)
    if (s != own && s->device == stream->device && !is_ours(s)) order_after(stream, s);
}

int submit(CUstream handle, int device, struct work *work) {
  work->device = device;
  pthread_mutex_lock(&lock);
  CUstream stream = stream_of(handle, device);
  if (stream) {
    keep_legacy_order(stream);
    append(stream, work);
  } else {
    free(work->copies);
    free(work->owned);
    free(work);
  }
  pthread_mutex_unlock(&lock);
  return stream ? OK : INVALID_HANDLE;
}

static void drain_locked(CUstream stream) {
  while (stream->pending && !lost[stream->device]) pthread_cond_wait(&changed, &lock);
}

int drain(CUstream handle, int device) {
  pthread_mutex_lock(&lock);
  CUstream stream = stream_of(handle, device);
  if (stream) drain_locked(stream);
  int code = lost[device];
  pthread_mutex_unlock(&lock);
  return stream ? code : INVALID_HANDLE;
}

void drain_device(int device) {
  pthread_mutex_lock(&lock);
  for (CUstream s = streams; s; s = s->next) if (s->device == device) drain_locked(s);
  pthread_mutex_unlock(&lock);
}

int has_kernels(int device) {
  int found = 0;
  pthread_mutex_lock(&lock);
  for (CUstream s = streams; s; s = s->next)
    for (struct work *w = s->device == device ? s->head : NULL; w; w = w->next) found |= w->by_kernel || w->kind == WORK_KERNEL;
  pthread_mutex_unlock(&lock);
  return found;
}

static void stop(CUstream stream) { /* lock held; what is queued is still done */
  stream->stopped = 1;
  stream->magic = 0;
  pthread_cond_broadcast(&changed);
}

void free_streams_of(int device) {
  pthread_mutex_lock(&lock);
  /* Where the context was lost their work is skipped, but not at once. */
  for (CUstream s = streams; s; s = s->next)
    while (s->device == device && s->pending) pthread_cond_wait(&changed, &lock);
  for (CUstream s = streams; s; s = s->next) if (s->device == device && s != legacy[device] && s->magic) stop(s);
  pthread_mutex_unlock(&lock);
}

API cuStreamCreate(CUstream *phStream, unsigned int Flags) {
  ENTER_DEVICE();
  pthread_mutex_lock(&lock);
  *phStream = start(Flags, device);
  pthread_mutex_unlock(&lock);
  return OK;
}

API cuStreamDestroy_v2(CUstream hStream) {
  int device = current_device();
  int code = entered(__func__, device);
  if (device < 0) return INVALID_CONTEXT;
  pthread_mutex_lock(&lock);
  CUstream stream = stream_of(hStream, device);
  int known = stream && stream != legacy[device];
  if (known) stop(stream);
  pthread_mutex_unlock(&lock);
  return known ? code : INVALID_HANDLE;
}

API cuStreamSynchronize(CUstream hStream) {
  ENTER_DEVICE();
  return drain(hStream, device);
}

static __thread CUstreamCaptureMode mode; /* the first one is the default: global */
int capture_mode(void) { return mode; }

API cuThreadExchangeStreamCaptureMode(CUstreamCaptureMode *exchanged) {
  ENTER();
  CUstreamCaptureMode before = mode;
  mode = *exchanged;
  *exchanged = before;
  return OK;
}

API cuStreamIsCapturing(CUstream hStream, CUstreamCaptureStatus *captureStatus) {
  ENTER_DEVICE();
  pthread_mutex_lock(&lock);
  CUstream stream = stream_of(hStream, device);
  int capturing = (int)settings.capturing & CAPTURING_TRAINING && stream && !is_ours(stream);
  pthread_mutex_unlock(&lock);
  *captureStatus = capturing;
  return !stream ? INVALID_HANDLE : capturing && stream == legacy[device] ? CAPTURE_IMPLICIT : OK;
}

static int is_ignored(CUstream waiting, const struct mark *mark) {
  int mask = settings.ignored_waits;
  if (mark->foreign) return mask & IGNORE_OTHER_PROCESS;
  if (!is_ours(waiting)) return !mark->by_training && (mask & IGNORE_TRAINING_FOR_OURS);
  return mask & (mark->by_training ? IGNORE_OURS_FOR_TRAINING : IGNORE_OURS_FOR_OURS);
}

/* The last record, by whichever process, or NULL. */
static struct mark *last_of(CUevent event) { /* lock held */
  uint64_t recorded = event->shared ? __atomic_load_n(&event->shared->recorded, __ATOMIC_ACQUIRE) : 0;
  if (recorded && (!event->last || event->last->ticket < recorded)) {
    unreference(event->last);
    event->last = calloc(1, sizeof *event->last);
    *event->last = (struct mark){.references = 1, .foreign = 1, .shared = event->shared, .ticket = recorded};
  }
  return event->last;
}

API cuStreamWaitEvent(CUstream hStream, CUevent hEvent, unsigned int Flags) {
  ENTER_DEVICE();
  (void)Flags;
  pthread_mutex_lock(&lock);
  CUstream stream = stream_of(hStream, device);
  int known = stream && hEvent && hEvent->magic == MAGIC_EVENT;
  struct mark *last = known ? last_of(hEvent) : NULL;
  if (last && !is_ignored(stream, last)) {
    keep_legacy_order(stream);
    append_mark(stream, WORK_WAIT, last);
  }
  pthread_mutex_unlock(&lock);
  return known ? OK : INVALID_HANDLE;
}

CUevent event_of_file(int file, int device) {
  struct shared_event *shared = NULL;
  if (file >= 0) {
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (shared == MAP_FAILED) return NULL;
  }
  CUevent event = calloc(1, sizeof *event);
  *event = (struct CUevent_st){.magic = MAGIC_EVENT, .device = device, .file = file, .shared = shared};
  pthread_mutex_lock(&lock);
  live_events++;
  pthread_mutex_unlock(&lock);
  return event;
}

int file_of_event(CUevent event) { return event && event->magic == MAGIC_EVENT ? event->file : -1; }

API cuEventCreate(CUevent *phEvent, unsigned int Flags) {
  ENTER_DEVICE();
  int shared = Flags & EVENT_INTERPROCESS, file = -1;
  if (shared && !(Flags & EVENT_NO_TIMING)) return INVALID_VALUE;
  if (shared) {
    file = memfd_create("cuda-stand-in-event", MFD_CLOEXEC);
    if (file < 0 || ftruncate(file, sizeof(struct shared_event))) abort();
  }
  *phEvent = event_of_file(file, device);
  return OK;
}

API cuEventRecord(CUevent hEvent, CUstream hStream) {
  ENTER_DEVICE();
  pthread_mutex_lock(&lock);
  CUstream stream = stream_of(hStream, device);
  int known = stream && hEvent && hEvent->magic == MAGIC_EVENT && hEvent->device == device;
  if (known) {
    keep_legacy_order(stream);
    unreference(hEvent->last);
    hEvent->last = new_mark(stream, hEvent->shared);
  }
  pthread_mutex_unlock(&lock);
  return known ? OK : INVALID_HANDLE;
}

API cuEventQuery(CUevent hEvent) {
  ENTER_DEVICE();
  (void)device;
  pthread_mutex_lock(&lock);
  int code = hEvent && hEvent->magic == MAGIC_EVENT ? OK : INVALID_HANDLE;
  struct mark *last = code ? NULL : last_of(hEvent);
  if (last && !is_done(last) && !settings.early_events) code = NOT_READY;
  if (settings.failing_queries) code = settings.failing_queries;
  pthread_mutex_unlock(&lock);
  return code;
}

API cuEventSynchronize(CUevent hEvent) {
  ENTER_DEVICE();
  pthread_mutex_lock(&lock);
  int code = hEvent && hEvent->magic == MAGIC_EVENT ? OK : INVALID_HANDLE;
  struct mark *mark = code ? NULL : hEvent->last;
  if (mark) mark->references++;
  while (mark && !mark->done && !lost[device]) pthread_cond_wait(&changed, &lock);
  unreference(mark);
  if (!code) code = lost[device];
  pthread_mutex_unlock(&lock);
  return code;
}

API cuEventElapsedTime(float *pMilliseconds, CUevent hStart, CUevent hEnd) {
  ENTER_DEVICE();
  (void)device;
  pthread_mutex_lock(&lock);
  int known = hStart && hEnd && hStart->magic == MAGIC_EVENT && hEnd->magic == MAGIC_EVENT && hStart->last && hEnd->last;
  int done = known && hStart->last->done && hEnd->last->done;
  if (done) *pMilliseconds = ((double)hEnd->last->time - (double)hStart->last->time) / 1e6;
  pthread_mutex_unlock(&lock);
  return !known ? INVALID_HANDLE : done ? OK : NOT_READY;
}

API cuEventDestroy_v2(CUevent hEvent) {
  int device = current_device();
  int code = entered(__func__, device);
  if (device < 0) return INVALID_CONTEXT;
  pthread_mutex_lock(&lock);
  int known = hEvent && hEvent->magic == MAGIC_EVENT;
  if (known) {
    live_events--;
    hEvent->magic = 0;
    if (hEvent->file >= 0) close(hEvent->file);
    unreference(hEvent->last);
    free(hEvent);
  }
  pthread_mutex_unlock(&lock);
  return known ? code : INVALID_HANDLE;
}

int write_streams(char *text, size_t room) {
  int live = 0;
  size_t pending = 0;
  for (CUstream s = streams; s; s = s->next) {
    live += s->magic && s != legacy[s->device];
    pending += s->pending;
  }
  return snprintf(text, room, "\"streams\":%d,\"events\":%d,\"pending\":%zu", live, live_events, pending);
}
