/* What tests can set, by CUDA_STANDIN="name=value,…" or standinSet, what they make fail, and what is counted. */
#include "standin.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct settings settings = {.devices = 1, .driver_version = STANDIN_VERSION, .device_memory = 2147483648.0, .seed = 1};

static const struct { const char *name; double *value; } known[] = {
  {"devices", &settings.devices}, {"driver_version", &settings.driver_version},
  {"device_memory", &settings.device_memory}, {"first_device", &settings.first_device}, {"d2h_gbps", &settings.d2h_gbps},
  {"h2d_gbps", &settings.h2d_gbps}, {"d2d_gbps", &settings.d2d_gbps}, {"op_us", &settings.op_us},
  {"jitter_us", &settings.jitter_us}, {"seed", &settings.seed}, {"ignored_waits", &settings.ignored_waits},
  {"early_events", &settings.early_events}, {"failing_queries", &settings.failing_queries},
  {"capturing", &settings.capturing}, {"eager_free", &settings.eager_free}, {"held", &settings.held},
};

PUBLIC int standinSet(const char *name, double value) {
  for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
    if (strcmp(known[i].name, name)) continue;
    pthread_mutex_lock(&lock);
    *known[i].value = value;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
    return 1;
  }
  return 0;
}

void read_settings(void) {
  const char *text = getenv("CUDA_STANDIN");
  char *copy = text ? strdup(text) : NULL, *rest = NULL;
  for (char *item = copy ? strtok_r(copy, ",", &rest) : NULL; item; item = strtok_r(NULL, ",", &rest)) {
    char *value = strchr(item, '=');
    if (value) *value++ = 0;
    if (!value || !standinSet(item, atof(value))) {
      fprintf(stderr, "CUDA_STANDIN: there is no setting %s\n", item);
      abort();
    }
  }
  free(copy);
}

static struct { char name[48]; long countdown; int code; } fault; /* of calls */
static struct { long countdown; int code; } failing_work;

/* The nth call of `name` from now on ("" for any call at all) fails with `code`. 0 clears it. */
PUBLIC void standinFailCall(const char *name, long nth, int code) {
  pthread_mutex_lock(&lock);
  snprintf(fault.name, sizeof fault.name, "%s", name);
  fault.countdown = nth;
  fault.code = code;
  pthread_mutex_unlock(&lock);
}

/* The nth copy or set that a stream of anybody's runs from now on fails with `code`: its context is lost. */
PUBLIC void standinFailWork(long nth, int code) {
  pthread_mutex_lock(&lock);
  failing_work.countdown = nth;
  failing_work.code = code;
  pthread_mutex_unlock(&lock);
}

int work_fault(void) { return failing_work.countdown > 0 && --failing_work.countdown == 0 ? failing_work.code : OK; }

static struct { const char *name; long calls; } counts[64];
static int counted;

static void count(const char *name) {
  int i = 0;
  while (i < counted && strcmp(counts[i].name, name)) i++;
  if (i == counted) counts[counted++].name = name;
  counts[i].calls++;
}

int write_calls(char *text, size_t room) {
  int length = 0;
  for (int i = 0; i < counted; i++)
    length += snprintf(text + length, room - length, "%s\"%s\":%ld", i ? "," : "", counts[i].name, counts[i].calls);
  return length;
}

static int loses_context(int code) { return code == ILLEGAL_ADDRESS || code == 719 || code == 999; }

/* Some of the calls that are prohibited while another thread captures, for a thread that did not relax. */
static int ends_capture(const char *name) {
  static const char *const prohibited[] = {"cuEventQuery", "cuStreamSynchronize", "cuCtxSynchronize", "cuMemAlloc_v2", "cuMemFree_v2",
                                           "cuMemHostRegister_v2", "cuMemHostUnregister", "cuModuleLoadData"};
  if (capture_mode() || !((int)settings.capturing & CAPTURING_ELSEWHERE)) return 0;
  for (size_t i = 0; i < sizeof prohibited / sizeof *prohibited; i++) if (!strcmp(prohibited[i], name)) return 1;
  return 0;
}

int entered(const char *name, int device) {
  pthread_mutex_lock(&lock);
  count(name);
  int code = device >= 0 && lost[device] ? lost[device] : ends_capture(name) ? CAPTURE_UNSUPPORTED : OK;
  int matches = fault.countdown > 0 && (!fault.name[0] || !strcmp(fault.name, name));
  if (matches && --fault.countdown == 0) {
    code = fault.code;
    if (device >= 0 && loses_context(code)) lost[device] = code;
  }
  pthread_mutex_unlock(&lock);
  return code;
}
