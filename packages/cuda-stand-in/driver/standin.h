/*
 * A stand-in for NVIDIA's driver, libcuda.so.1, on host memory: for tests on machines without a GPU.
 *
 * - Device addresses lie in a reserved range without access: a CPU that touches one dies of SIGSEGV. Addresses
 *   are never used twice, so that a use after a free is found out.
 * - Every stream is a FIFO with a thread of its own. Copies take the time that a set bandwidth says, and begin
 *   after a random delay.
 * - Any call, and any piece of work on a stream, can be made to fail.
 *
 * With -DSTANDIN_USE_CUDA_H the compiler checks every signature against a real cuda.h.
 * -DSTANDIN_VERSION=12080 is a driver of CUDA 12.8: it lacks what came later.
 */
#ifndef STANDIN_H
#define STANDIN_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

#ifdef STANDIN_USE_CUDA_H
#include <cuda.h>
#define STANDIN_VERSION CUDA_VERSION
#undef cuDeviceGetUuid /* it means its second version */
#undef cuMemcpyBatchAsync /* CUDA 13 calls its second version by the name of the first */
#else
#ifndef STANDIN_VERSION
#define STANDIN_VERSION 13000
#endif
typedef int CUresult, CUdevice, CUpointer_attribute;
typedef unsigned int CUstreamCaptureMode, CUstreamCaptureStatus;
typedef unsigned long long CUdeviceptr;
typedef struct CUctx_st *CUcontext;
typedef struct CUstream_st *CUstream;
typedef struct CUevent_st *CUevent;
typedef struct CUmod_st *CUmodule;
typedef struct CUfunc_st *CUfunction;
typedef struct { char bytes[16]; } CUuuid;
typedef struct { char reserved[64]; } CUipcMemHandle, CUipcEventHandle;
typedef struct { int type, id; } CUmemLocation;
typedef struct { int srcAccessOrder; CUmemLocation srcLocHint, dstLocHint; unsigned int flags; } CUmemcpyAttributes;
#endif

#define PUBLIC __attribute__((visibility("default")))
#define API PUBLIC CUresult

enum {
  OK = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, NOT_INITIALIZED = 3, NO_DEVICE = 100, INVALID_DEVICE = 101,
  INVALID_CONTEXT = 201, INVALID_PTX = 218, INVALID_HANDLE = 400, NOT_FOUND = 500, NOT_READY = 600,
  ILLEGAL_ADDRESS = 700, ALREADY_REGISTERED = 712, NOT_REGISTERED = 713, NOT_SUPPORTED = 801,
  CAPTURE_UNSUPPORTED = 900, CAPTURE_IMPLICIT = 906,
};

enum { MAX_DEVICES = 4 };
#define MAGIC_STREAM 0x53545231u
#define MAGIC_EVENT 0x45565431u
#define STREAM_NON_BLOCKING 1u
#define HOST_REGISTER_PORTABLE 1u
#define EVENT_NO_TIMING 2u
#define EVENT_INTERPROCESS 4u

/* ---- settings.c: what tests can set, what fails, and what is counted */

struct settings {
  double devices, driver_version, device_memory;
  double first_device; /* which of the machine's devices is the process's first, as CUDA_VISIBLE_DEVICES has it */
  double d2h_gbps, h2d_gbps, d2d_gbps; /* 0: as fast as memcpy */
  double op_us, jitter_us, seed;
  /* Mutants of the order, as sums of IGNORE_…; and events that count as done as soon as they are recorded. */
  double ignored_waits, early_events;
  double failing_queries; /* what every cuEventQuery fails with; 0: nothing */
  double capturing; /* sums of CAPTURING_…: who captures a graph, in global mode */
  double eager_free; /* 1: freeing and unloading wait for nothing, which is all that CUDA promises */
  double held; /* sums of HOLD_…: streams that do nothing until this is 0 again */
};
extern struct settings settings;

/* "Ours" are streams that were created NON_BLOCKING, "training" all others. */
enum { IGNORE_OURS_FOR_TRAINING = 1, IGNORE_TRAINING_FOR_OURS = 2, IGNORE_OURS_FOR_OURS = 4, IGNORE_OTHER_PROCESS = 8 };
enum { HOLD_OURS = 1, HOLD_TRAINING = 2 };
enum { CAPTURING_TRAINING = 1, CAPTURING_ELSEWHERE = 2 };

/* Counts the call; what it has to fail with, or OK. `device`: where its context is, or -1 if it needs none. */
int entered(const char *name, int device);
/* The failure that was set for the next piece of work on a stream, or OK. */
int work_fault(void);
void read_settings(void);
int write_calls(char *text, size_t room);

#define ENTER() do { int fault_ = entered(__func__, -1); if (fault_) return fault_; } while (0)
/* For calls that need a current context. */
#define ENTER_DEVICE() int device = current_device(); \
  do { int fault_ = entered(__func__, device); if (fault_) return fault_; if (device < 0) return INVALID_CONTEXT; } while (0)

/* ---- device.c: devices and contexts */

/* The device of the context that is current on this thread, or -1. */
int current_device(void);
int context_depth(void);
/* What this thread may call while another captures; 0 is the default. Prohibited calls fail, and end the capture. */
int capture_mode(void);
int primary_references(void);
/* The error that the device's context will never get rid of, or OK. */
extern int lost[MAX_DEVICES];

/* ---- copy.c and memory.c: calls of the driver that other calls are made of */

#ifndef STANDIN_USE_CUDA_H
CUresult cuMemcpyAsync(CUdeviceptr dst, CUdeviceptr src, size_t ByteCount, CUstream hStream);
CUresult cuMemHostRegister_v2(void *p, size_t bytesize, unsigned int Flags);
CUresult cuMemHostUnregister(void *p);
#endif

/* ---- memory.c: memory of devices, and pinned memory of the host */

struct allocation {
  uint64_t base;
  size_t size;
  int device, freed, foreign; /* foreign: of another process, mapped into our addresses */
  struct allocation *next;
};

void reserve_addresses(void);
int is_device_address(uint64_t address);
/* The live allocation that has all of these bytes, or NULL. */
struct allocation *find_allocation(uint64_t address, size_t size);
/* For copies of this device. */
int is_pinned(uint64_t address, size_t size, int device);
/* Where a device's bytes really are. */
uint8_t *shadow_of(uint64_t address);
void free_memory_of(int device);
/* For ipc.c, with the lock held: the file that an address of ours lies in, and where; and the other way round. */
int file_behind(uint64_t address, uint64_t *offset);
struct allocation *map_foreign(int file, uint64_t offset, size_t size, int device);
int unmap_foreign(uint64_t base);
int write_memory(char *text, size_t room);

/* ---- stream.c: streams and events */

struct copy { uint64_t to, from; size_t size; };
enum work_kind { WORK_COPY, WORK_SET, WORK_KERNEL, WORK_RECORD, WORK_WAIT };

struct work {
  struct work *next;
  enum work_kind kind;
  struct copy *copies; /* WORK_COPY; freed with the work */
  size_t count;
  int by_kernel, pageable; /* WORK_COPY; pageable: of host memory that is not pinned */
  int device;
  uint8_t *owned; /* a buffer that is freed with the work */
  int (*kernel)(const struct work *); /* WORK_KERNEL */
  uint64_t to; /* WORK_SET, WORK_KERNEL */
  uint32_t value;
  size_t size;
  struct mark *mark; /* WORK_RECORD, WORK_WAIT */
};

extern pthread_mutex_t lock; /* of everything */
extern pthread_cond_t changed;

/* Puts work into a stream of the current device; takes it over. Call without the lock. */
int submit(CUstream stream, int device, struct work *work);
/* Waits until a stream has done everything. Call without the lock. */
int drain(CUstream stream, int device);
void drain_device(int device);
/* Whether a stream has yet to run a kernel. */
int has_kernels(int device);
void start_legacy_streams(int devices);
void free_streams_of(int device);
/* What processes know of an event that they share. A process that dies leaves `done` behind `recorded` for good. */
struct shared_event { uint64_t recorded, done; };
/* For ipc.c: the file that has the event's, or -1 if it is not to be shared; and the event of such a file. */
int file_of_event(CUevent event);
CUevent event_of_file(int file, int device);
int write_streams(char *text, size_t room);

/* ---- copy.c */

/* Does what a piece of work says. OK, or what the device's context is lost with. */
int run_copies(const struct work *work);
int run_set(const struct work *work);
/* Where bytes really are: those of a device, or of the host. */
uint8_t *bytes_at(uint64_t address);
void sleep_until(uint64_t time);
/* Nanoseconds, of a clock that only goes forward. */
uint64_t now(void);
int submit_copies(CUstream stream, int device, struct copy *copies, size_t count, int by_kernel);
long pageable_copies(void);

/* ---- kernel.c */

int live_modules(void);

#endif
