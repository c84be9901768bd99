// A libcuda that owns no GPU: it writes down every call, keeps "device" memory in the host's, and fails when told to.
// Types and prototypes are the driver API's, with handles as integers. -DOLD leaves out what CUDA 11.0 had not.
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_FAILURES 8
static char text[1 << 20];
static size_t length;
static struct { char name[64]; int result, after, times; } failures[MAX_FAILURES];
static int version = 13000, devices = 2, pools = 1, capability = 86, not_ready = 0;
/** Launches that go well before one fails and the context with it. */
static int launches_left = INT32_MAX;
static uint64_t used, total = 1 << 30, threshold = 0, handles = 0x1000, capturing = 0;
static void catch_up(void);

// ---- what tests call ----
const char *stub_log(void) { return text; }
void stub_reset(void) {
  length = 0, text[0] = 0, memset(failures, 0, sizeof failures);
  version = 13000, devices = 2, pools = 1, not_ready = 0;
}
void stub_clear(void) { length = 0, text[0] = 0; }
void stub_machine(int v, int d, int p) { version = v, devices = d, pools = p; }
/** After `after` good calls, `times` calls of `name` return `result`. */
void stub_fail(const char *name, int result, int after, int times) {
  for (int i = 0; i < MAX_FAILURES; i++) {
    if (failures[i].times) continue;
    snprintf(failures[i].name, sizeof failures[i].name, "%s", name);
    failures[i].result = result, failures[i].after = after, failures[i].times = times;
    return;
  }
}
/** The next `n` queries of streams and events say that the work is not done. */
void stub_not_ready(int n) { not_ready = n; }
uint64_t stub_used(void) { return used; }
uint64_t stub_threshold(void) { return threshold; }
/** Another process says by variables what machine it wants. */
__attribute__((constructor)) static void from_environment(void) {
  struct { const char *name; int *value; } settings[] = {
    {"STUB_VERSION", &version}, {"STUB_DEVICES", &devices}, {"STUB_CAPABILITY", &capability}, {"STUB_LAUNCHES", &launches_left},
  };
  for (size_t i = 0; i < sizeof settings / sizeof *settings; i++)
    if (getenv(settings[i].name)) *settings[i].value = atoi(getenv(settings[i].name));
}

// ---- writing down ----
static void say(const char *format, ...) {
  va_list args;
  va_start(args, format);
  if (length < sizeof text) length += vsnprintf(text + length, sizeof text - length, format, args);
  va_end(args);
}
static int failing(const char *name) {
  for (int i = 0; i < MAX_FAILURES; i++) {
    if (!failures[i].times || strcmp(failures[i].name, name)) continue;
    if (failures[i].after-- > 0) return 0;
    failures[i].after = 0, failures[i].times--;
    return failures[i].result;
  }
  return launches_left < 0 ? 700 : 0;
}
#define CALL(...) \
  do { \
    say("%s", __func__); \
    say(" " __VA_ARGS__); \
    say("\n"); \
    int result = failing(__func__); \
    if (result) return result; \
  } while (0)
#define U(x) ((unsigned long long)(x))

// ---- driver, devices, contexts ----
int cuInit(uint32_t flags) { CALL("%u", flags); return devices ? 0 : 100; }
int cuDriverGetVersion(int *v) { *v = version; return 0; }
int cuGetErrorName(int result, const char **name) {
  static const struct { int result; const char *name; } names[] = {
    {0, "CUDA_SUCCESS"}, {1, "CUDA_ERROR_INVALID_VALUE"}, {2, "CUDA_ERROR_OUT_OF_MEMORY"}, {34, "CUDA_ERROR_STUB_LIBRARY"},
    {100, "CUDA_ERROR_NO_DEVICE"}, {209, "CUDA_ERROR_NO_BINARY_FOR_GPU"}, {218, "CUDA_ERROR_INVALID_PTX"},
    {400, "CUDA_ERROR_INVALID_HANDLE"}, {900, "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED"},
    {221, "CUDA_ERROR_JIT_COMPILER_NOT_FOUND"}, {222, "CUDA_ERROR_UNSUPPORTED_PTX_VERSION"}, {500, "CUDA_ERROR_NOT_FOUND"},
    {600, "CUDA_ERROR_NOT_READY"}, {700, "CUDA_ERROR_ILLEGAL_ADDRESS"}, {701, "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES"},
    {803, "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH"}, {901, "CUDA_ERROR_STREAM_CAPTURE_INVALIDATED"},
  };
  *name = NULL;
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    if (names[i].result == result) *name = names[i].name;
  return *name ? 0 : 1;
}
int cuGetErrorString(int result, const char **words) {
  const char *name;
  if (cuGetErrorName(result, &name)) return *words = NULL, 1;
  return *words = "words of the driver", 0;
}
int cuDeviceGetCount(int *n) { *n = devices; return 0; }
int cuDeviceGet(int *device, int ordinal) { return ordinal < devices ? (*device = 70 + ordinal, 0) : 101; }
int cuDeviceGetName(char *name, int n, int device) { snprintf(name, n, "Stub %d", device - 70); return 0; }
int cuDeviceTotalMem_v2(size_t *bytes, int device) { *bytes = total; return device >= 70 ? 0 : 101; }
int cuDeviceGetAttribute(int *value, int attribute, int device) {
  (void)device;
  switch (attribute) {
    case 75: *value = capability / 10; return 0;
    case 76: *value = capability % 10; return 0;
    case 115: *value = pools; return 0;
    case 8: *value = 49152; return 0;
    case 97: *value = 101376; return 0;
    case 2: case 3: *value = 1024; return 0;
    case 4: *value = 64; return 0;
    case 5: *value = 2147483647; return 0;
    case 6: case 7: *value = 65535; return 0;
    default: *value = 1000 + attribute; return attribute > 0 && attribute < 150 ? 0 : 1;
  }
}
int cuDevicePrimaryCtxRetain(uint64_t *context, int device) { CALL("%d", device); *context = 0xC0 + device; return 0; }
int cuDevicePrimaryCtxRelease_v2(int device) { CALL("%d", device); return 0; }
int cuCtxSetCurrent(uint64_t context) { CALL("%llx", U(context)); return 0; }
int cuCtxSynchronize(void) { CALL(""); catch_up(); return 0; }

// ---- modules and launches ----
int cuModuleLoadDataEx(uint64_t *module, const char *image, uint32_t count, const int *options, void **values) {
  char *info = NULL, *errors = NULL;
  size_t info_size = 0, error_size = 0;
  uint64_t verbose = 0;
  for (uint32_t i = 0; i < count; i++) {
    if (options[i] == 3) info = values[i];
    if (options[i] == 4) info_size = (size_t)values[i];
    if (options[i] == 5) errors = values[i];
    if (options[i] == 6) error_size = (size_t)values[i];
    if (options[i] == 12) verbose = (uint64_t)values[i];
  }
  CALL("%llu characters, logs of %llu and %llu bytes, verbose %llu", U(strlen(image)), U(info_size), U(error_size), U(verbose));
  const char *bad = strstr(image, "nonsense");
  if (bad) return snprintf(errors, error_size, "ptxas application ptx input, line 5; fatal : Parsing error near 'nonsense'"), 218;
  snprintf(info, info_size, "ptxas info : Used 12 registers");
  *module = ++handles;
  return 0;
}
int cuModuleUnload(uint64_t module) { CALL("%llx", U(module)); return 0; }
int cuModuleGetFunction(uint64_t *function, uint64_t module, const char *name) {
  CALL("%llx %s", U(module), name);
  return strcmp(name, "absent") ? (*function = ++handles, 0) : 500;
}
int cuModuleGetGlobal_v2(uint64_t *pointer, size_t *bytes, uint64_t module, const char *name) {
  CALL("%llx %s", U(module), name);
  return strcmp(name, "absent") ? (*pointer = 0x7f0123456700, *bytes = 24, 0) : 500;
}
int cuFuncGetAttribute(int *value, int attribute, uint64_t function) {
  (void)function;
  static const int values[] = {256, 1024, 0, 16, 40};
  return attribute < 5 ? (*value = values[attribute], 0) : 1;
}
int cuFuncSetAttribute(uint64_t function, int attribute, int value) { (void)function; CALL("%d %d", attribute, value); return 0; }
int cuLaunchKernel(uint64_t function, uint32_t gx, uint32_t gy, uint32_t gz, uint32_t bx, uint32_t by, uint32_t bz,
                   uint32_t shared, uint64_t stream, void **params, void **extra) {
  (void)function;
  launches_left--;
  say("args");
  const uint8_t *args = NULL;
  size_t size = 0;
  for (void **e = extra; e && *e; e += 2) {
    if ((uintptr_t)*e == 1) args = e[1];
    if ((uintptr_t)*e == 2) size = *(size_t *)e[1];
  }
  for (size_t i = 0; i < size; i++) say(" %02x", args[i]);
  say("\n");
  CALL("(%u %u %u) (%u %u %u) %u stream %llx%s%s", gx, gy, gz, bx, by, bz, shared, U(stream), params ? " params" : "",
       capturing == stream ? " recorded" : "");
  return bx * by * bz > 256 ? 1 : 0;
}

// ---- memory: a word before each block holds its size ----
/** Page-locked blocks of the host. */
static struct { uint64_t begin; size_t bytes; } locked[64];
/** Copies out of them, of which so many are done: a GPU may take the bytes as late as something shows that it has. */
#define MAX_LATE 1024
static struct { uint64_t to, from; size_t bytes; } late[MAX_LATE];
static size_t queued, done;
static void catch_up_to(size_t end) {
  for (; done < end; done++)
    memcpy((void *)late[done % MAX_LATE].to, (void *)late[done % MAX_LATE].from, late[done % MAX_LATE].bytes);
}
static void catch_up(void) { catch_up_to(queued); }
static int is_locked(uint64_t from, size_t bytes) {
  for (size_t i = 0; i < sizeof locked / sizeof *locked; i++)
    if (locked[i].begin && from >= locked[i].begin && from + bytes <= locked[i].begin + locked[i].bytes) return 1;
  return 0;
}
static int take(uint64_t *pointer, size_t bytes) {
  if (bytes == 0) return 1;
  if (used + bytes > total) return 2;
  uint64_t *block = calloc(1, bytes + 8);
  *block = bytes, used += bytes, *pointer = (uint64_t)(block + 1);
  return 0;
}
static int give(uint64_t pointer) {
  catch_up();
  uint64_t *block = (uint64_t *)pointer - 1;
  used -= *block;
  free(block);
  return 0;
}
int cuMemGetInfo_v2(size_t *available, size_t *all) { *available = total - used, *all = total; return 0; }
int cuMemAlloc_v2(uint64_t *pointer, size_t bytes) { CALL("%llu", U(bytes)); return take(pointer, bytes); }
int cuMemFree_v2(uint64_t pointer) { CALL(""); return give(pointer); }
int cuMemHostAlloc(uint64_t *pointer, size_t bytes, uint32_t flags) {
  CALL("%llu %u", U(bytes), flags);
  size_t i = 0;
  while (locked[i].begin) if (++i == sizeof locked / sizeof *locked) return 2;
  int result = take(pointer, bytes);
  if (!result) locked[i].begin = *pointer, locked[i].bytes = bytes;
  return result;
}
int cuMemFreeHost(uint64_t pointer) {
  CALL("");
  for (size_t i = 0; i < sizeof locked / sizeof *locked; i++)
    if (locked[i].begin == pointer) locked[i].begin = 0;
  return give(pointer);
}
int cuMemcpyHtoDAsync_v2(uint64_t to, const void *from, size_t bytes, uint64_t stream) {
  int held = is_locked((uint64_t)from, bytes);
  CALL("%llu stream %llx%s%s", U(bytes), U(stream), held ? " pinned" : "", capturing == stream ? " recorded" : "");
  if (!held) return catch_up(), memcpy((void *)to, from, bytes), 0;
  if (queued - done == MAX_LATE) catch_up();
  late[queued % MAX_LATE].to = to, late[queued % MAX_LATE].from = (uint64_t)from, late[queued % MAX_LATE].bytes = bytes;
  queued++;
  return 0;
}
int cuMemcpyDtoHAsync_v2(void *to, uint64_t from, size_t bytes, uint64_t stream) {
  CALL("%llu stream %llx", U(bytes), U(stream));
  catch_up();
  memcpy(to, (void *)from, bytes);
  return 0;
}
int cuMemcpyDtoDAsync_v2(uint64_t to, uint64_t from, size_t bytes, uint64_t stream) {
  CALL("%llu stream %llx", U(bytes), U(stream));
  catch_up();
  memmove((void *)to, (void *)from, bytes);
  return 0;
}
int cuMemsetD8Async(uint64_t to, uint8_t value, size_t bytes, uint64_t stream) {
  CALL("%u %llu stream %llx", value, U(bytes), U(stream));
  catch_up();
  memset((void *)to, value, bytes);
  return 0;
}
#ifndef OLD
int cuMemAllocAsync(uint64_t *pointer, size_t bytes, uint64_t stream) {
  CALL("%llu stream %llx", U(bytes), U(stream));
  return take(pointer, bytes);
}
int cuMemFreeAsync(uint64_t pointer, uint64_t stream) { CALL("stream %llx", U(stream)); return give(pointer); }
int cuDeviceGetDefaultMemPool(uint64_t *pool, int device) { *pool = 0x900 + device; return 0; }
int cuMemPoolGetAttribute(uint64_t pool, int attribute, uint64_t *value) {
  (void)pool;
  if (attribute == 4) return *value = threshold, 0;
  if (attribute == 5) return *value = used + 4096, 0; // 4096 bytes lie in the pool unused
  if (attribute == 7) return *value = used, 0;
  return 1;
}
int cuMemPoolSetAttribute(uint64_t pool, int attribute, uint64_t *value) {
  (void)pool;
  return attribute == 4 ? (threshold = *value, 0) : 1;
}
int cuMemPoolTrimTo(uint64_t pool, size_t keep) { (void)pool; CALL("%llu", U(keep)); return 0; }
#endif

// ---- streams, events, graphs ----
static int query_copies(size_t copies) { return not_ready > 0 ? (not_ready--, 600) : (catch_up_to(copies), 0); }
static int query(void) { return query_copies(queued); }
/** By the low bits of an event's handle: the copies that were queued when it was recorded. */
static size_t copies_at[1 << 12];
int cuStreamCreate(uint64_t *stream, uint32_t flags) { CALL("%u", flags); *stream = ++handles; return 0; }
int cuStreamDestroy_v2(uint64_t stream) { CALL("%llx", U(stream)); return 0; }
int cuStreamQuery(uint64_t stream) { CALL("%llx", U(stream)); return stream == capturing ? 900 : query(); }
int cuStreamWaitEvent(uint64_t stream, uint64_t event, uint32_t flags) {
  CALL("%llx %llx %u", U(stream), U(event), flags);
  return 0;
}
int cuEventCreate(uint64_t *event, uint32_t flags) { CALL("%u", flags); *event = ++handles; return 0; }
int cuEventDestroy_v2(uint64_t event) { CALL("%llx", U(event)); return 0; }
/** By the low bits of an event's handle: whether it was recorded. */
static uint8_t recorded[1 << 16];
int cuEventRecord(uint64_t event, uint64_t stream) {
  CALL("%llx %llx", U(event), U(stream));
  copies_at[event & 0xfff] = queued;
  recorded[event & 0xffff] = 1;
  return 0;
}
int cuEventQuery(uint64_t event) { CALL("%llx", U(event)); return query_copies(copies_at[event & 0xfff]); }
int cuEventElapsedTime(float *milliseconds, uint64_t start, uint64_t end) {
  CALL("%llx %llx", U(start), U(end));
  *milliseconds = 1.5f;
  return recorded[start & 0xffff] && recorded[end & 0xffff] ? 0 : 400;
}
int cuStreamBeginCapture_v2(uint64_t stream, int mode) { CALL("%llx %d", U(stream), mode); capturing = stream; return 0; }
int cuStreamEndCapture(uint64_t stream, uint64_t *graph) {
  capturing = 0;
  CALL("%llx", U(stream));
  *graph = ++handles;
  return 0;
}
#ifndef OLD
int cuGraphInstantiateWithFlags(uint64_t *executable, uint64_t graph, uint64_t flags) {
  CALL("%llx %llu", U(graph), U(flags));
  *executable = ++handles;
  return 0;
}
#endif
int cuGraphInstantiate_v2(uint64_t *executable, uint64_t graph, void *node, char *log, size_t size) {
  CALL("%llx %d %d %llu", U(graph), node != NULL, log != NULL, U(size));
  *executable = ++handles;
  return 0;
}
int cuGraphDestroy(uint64_t graph) { CALL("%llx", U(graph)); return 0; }
int cuGraphExecDestroy(uint64_t executable) { CALL("%llx", U(executable)); return 0; }
int cuGraphLaunch(uint64_t executable, uint64_t stream) { CALL("%llx %llx", U(executable), U(stream)); return 0; }
