/* A CUDA driver on host memory whose kernels do nothing.
 *
 * It lets the real bindings run where there is no GPU: what a call asks of the driver is checked as
 * a driver would, and the time left is the host's own. Build: cc -shared -fPIC -Wl,-soname,libcuda.so.1
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { SUCCESS = 0, INVALID_VALUE = 1, NOT_FOUND = 500, NOT_SUPPORTED = 801 };
enum { ARGUMENTS = 64, POOL = 0x300, CONTEXT = 0x100, STREAM = 0x200 };

typedef struct {
    const char *text;
    int shared; /* bytes of dynamic shared memory that were allowed */
    int parameters;
} Function;

/* What tests read: launches, allocations that live, waits and copies, the last launch's arguments. */
long long null_launches, null_living, null_waits;
long long null_arguments[ARGUMENTS];
int null_argument_count, null_grid[3], null_threads, null_shared;

static void *current;

static int done(void) { return SUCCESS; }
static int unsupported(void) { return NOT_SUPPORTED; }

static int version(int *found) { *found = 13000; return SUCCESS; }
static int first_device(int *device, int ordinal) { *device = ordinal; return SUCCESS; }
static int one_device(int *count) { *count = 1; return SUCCESS; }
static int this_device(int *device) { *device = 0; return current ? SUCCESS : 201; }
static int retain(void **context, int device) { *context = (void *)CONTEXT; return SUCCESS; }
static int get_current(void **context) { *context = current; return SUCCESS; }
static int set_current(void *context) { current = context; return SUCCESS; }
static int pop_current(void **context) { *context = current; current = 0; return SUCCESS; }

static int device_name(char *text, int size, int device) { strncpy(text, "null", size); return SUCCESS; }
static int device_uuid(char *bytes, int device) { memset(bytes, 0, 16); return SUCCESS; }

static int attribute(int *value, int which, int device) {
    *value = which == 75 ? 9 : which == 76 ? 0 : which == 1 ? 1024 : which == 10 ? 32 : 1;
    return SUCCESS;
}

static int pointer_attribute(void *value, int which, uint64_t address) {
    if (which != 9 || !address) return INVALID_VALUE; /* the device's ordinal */
    *(int *)value = 0;
    return SUCCESS;
}

static int allocate(uint64_t *address, size_t size) {
    if (!size) return INVALID_VALUE;
    *address = (uint64_t)aligned_alloc(256, (size + 255) / 256 * 256);
    memset((void *)*address, 0xFF, size);
    null_living++;
    return SUCCESS;
}

static int release(uint64_t address) {
    free((void *)address);
    null_living--;
    return SUCCESS;
}

static int allocate_from_pool(uint64_t *address, size_t size, void *pool, void *stream) {
    return (uintptr_t)pool == POOL ? allocate(address, size) : INVALID_VALUE;
}

static int release_later(uint64_t address, void *stream) { return release(address); }

static int make_pool(void **pool, const int *properties) {
    /* allocType, handleTypes, location.type, location.id */
    if (properties[0] != 1 || properties[2] != 1 || properties[3] != 0) return INVALID_VALUE;
    *pool = (void *)POOL;
    return SUCCESS;
}

static int set_pool(void *pool, int which, const uint64_t *value) {
    return (uintptr_t)pool == POOL && which == 4 && *value == UINT64_MAX ? SUCCESS : INVALID_VALUE;
}

static int wait(void) { null_waits++; return SUCCESS; }

static int copy_in(uint64_t to, const void *from, size_t size) {
    null_waits++;
    memcpy((void *)to, from, size);
    return SUCCESS;
}

static int copy_out(void *to, uint64_t from, size_t size) {
    null_waits++;
    memcpy(to, (void *)from, size);
    return SUCCESS;
}

static int set_bytes(uint64_t to, unsigned char value, size_t size) {
    memset((void *)to, value, size);
    return SUCCESS;
}

static int free_memory(size_t *left, size_t *all) { *left = *all = (size_t)1 << 34; return SUCCESS; }
static int make_handle(void **handle) { *handle = (void *)STREAM; return SUCCESS; }
static int not_captured(void *stream, int *status) { *status = 0; return SUCCESS; }

static int load(void **module, const char *text) {
    if (!strstr(text, ".entry")) return INVALID_VALUE;
    *module = strdup(text);
    return SUCCESS;
}

static int function(Function **found, const char *text, const char *name) {
    const char *entry = strstr(text, ".entry"), *at, *end;
    at = entry ? strstr(entry, name) : 0;
    if (!at) return NOT_FOUND;
    end = strchr(at, ')');
    *found = calloc(1, sizeof(Function));
    (*found)->text = text;
    (*found)->shared = 48 << 10;
    for (; (at = strstr(at, ".param")) && at < end; at++) (*found)->parameters++;
    return SUCCESS;
}

static int allow(Function *f, int which, int value) {
    if (which != 8 || value > 227 << 10) return INVALID_VALUE;
    f->shared = value;
    return SUCCESS;
}

static int launch(
    Function *f, unsigned x, unsigned y, unsigned z, unsigned threads, unsigned threads_y,
    unsigned threads_z, unsigned shared, void *stream, void **arguments, void **extra) {
    int ok = x && y && z && x < 1u << 31 && y <= 65535 && z <= 65535;
    ok = ok && threads && threads <= 1024 && threads_y == 1 && threads_z == 1;
    ok = ok && (int)shared <= f->shared && arguments && !extra && f->parameters <= ARGUMENTS;
    if (!ok) return INVALID_VALUE;
    for (int i = 0; i < f->parameters; i++) null_arguments[i] = *(long long *)arguments[i];
    null_argument_count = f->parameters;
    null_grid[0] = x, null_grid[1] = y, null_grid[2] = z;
    null_threads = threads, null_shared = shared;
    null_launches++;
    return SUCCESS;
}

static int words(int status, const char **text) {
    *text = "NULL_DRIVER_REFUSED";
    return SUCCESS;
}

static const struct { const char *name; void *function; } known[] = {
    {"cuInit", done}, {"cuDriverGetVersion", version},
    {"cuDeviceGet", first_device}, {"cuDeviceGetCount", one_device},
    {"cuDeviceGetName", device_name}, {"cuDeviceGetUuid", device_uuid},
    {"cuDeviceGetAttribute", attribute}, {"cuDevicePrimaryCtxRetain", retain},
    {"cuDevicePrimaryCtxSetFlags", done}, {"cuDevicePrimaryCtxRelease", done},
    {"cuCtxGetCurrent", get_current}, {"cuCtxSetCurrent", set_current},
    {"cuCtxPushCurrent", set_current}, {"cuCtxPopCurrent", pop_current},
    {"cuCtxGetDevice", this_device}, {"cuCtxSynchronize", wait},
    {"cuPointerGetAttribute", pointer_attribute}, {"cuMemGetInfo", free_memory},
    {"cuMemAlloc", allocate}, {"cuMemFree", release},
    {"cuMemAllocFromPoolAsync", allocate_from_pool}, {"cuMemFreeAsync", release_later},
    {"cuMemPoolCreate", make_pool}, {"cuMemPoolSetAttribute", set_pool},
    {"cuMemPoolTrimTo", done},
    {"cuMemcpyHtoD", copy_in}, {"cuMemcpyHtoDAsync", copy_in},
    {"cuMemcpyDtoH", copy_out}, {"cuMemcpyDtoHAsync", copy_out},
    {"cuMemsetD8Async", set_bytes},
    {"cuStreamCreate", make_handle}, {"cuStreamDestroy", done}, {"cuStreamSynchronize", wait},
    {"cuStreamIsCapturing", not_captured}, {"cuStreamWaitEvent", done},
    {"cuEventCreate", make_handle}, {"cuEventRecord", done}, {"cuEventQuery", done},
    {"cuEventDestroy", done}, {"cuThreadExchangeStreamCaptureMode", done},
    {"cuModuleLoadData", load}, {"cuModuleGetFunction", function}, {"cuModuleUnload", done},
    {"cuFuncSetAttribute", allow}, {"cuLaunchKernel", launch},
    {"cuGetErrorName", words}, {"cuGetErrorString", words},
};

int cuGetProcAddress_v2(
    const char *name, void **found, int since, uint64_t flags, int *status) {
    *found = unsupported;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (!strcmp(name, known[i].name)) *found = known[i].function;
    if (status) *status = 0;
    return SUCCESS;
}
