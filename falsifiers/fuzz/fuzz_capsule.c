/* A libFuzzer target: any bytes as a capsule; what is accepted is cut along every axis. Build with clang
   -fsanitize=fuzzer,address,undefined and the sources that run.sh names. */
#include "harness/capsule.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);
const char fal_revision[] = "fuzz";

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    const int fd = memfd_create("fuzz", MFD_CLOEXEC);
    char path[32];
    fal_capsule *c = NULL;
    fal_error err = { 0 };
    if (fd < 0) return 0;
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    if (write(fd, bytes, n) == (ssize_t)n && fal_capsule_open(path, &c, NULL, &err) == FAL_OK) {
        for (const char *axis = FAL_CAPSULE_AXES; *axis; axis++) {
            const int extent = fal_capsule_extent(c, *axis), keep[] = { extent > 1 ? extent - 1 : 0 };
            if (extent > 0) fal_capsule_free(fal_capsule_cut(c, *axis, keep, 1));
            (void)fal_capsule_original(c, *axis, extent);
            (void)fal_capsule_unit_of(c, c->output, *axis, n);
        }
        fal_capsule_free(c);
    } else if (err.code == FAL_OK || memchr(err.message, '\0', sizeof err.message) == NULL) {
        __builtin_trap(); /* a refusal without a message */
    }
    close(fd);
    return 0;
}
