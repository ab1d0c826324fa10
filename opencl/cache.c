/* Built programs kept between runs, each file sealed with a digest of its own content. */
#include "opencl/cache.h"

#include "harness/digest.h"

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A file is magic, the SHA-256 of the program in hex, a line feed, the program. */
static const char magic[] = "falsify-opencl-program 1\n";
enum { MAGIC_LEN = sizeof magic - 1, HEX_LEN = 64, HEAD_LEN = MAGIC_LEN + HEX_LEN + 1 };

static bool cache_path(const char *dir, const char *key, const char *suffix, char path[PATH_MAX])
{
    const int n = snprintf(path, PATH_MAX, "%s/%s.clbin%s", dir, key, suffix);
    return n > 0 && n < PATH_MAX;
}

unsigned char *fal_cl_cache_load(const char *dir, const char *key, size_t *n)
{
    *n = 0;
    char path[PATH_MAX], hex[65];
    if (!cache_path(dir, key, "", path)) return NULL;
    FILE *f = fopen(path, "rb");
    if (!f) return NULL;
    unsigned char *bytes = NULL, *program = NULL;
    struct stat info;
    if (fstat(fileno(f), &info) != 0 || !S_ISREG(info.st_mode) || info.st_size <= HEAD_LEN) goto out;
    const size_t size = (size_t)info.st_size, len = size - HEAD_LEN;
    bytes = malloc(size);
    if (!bytes || fread(bytes, 1, size, f) != size) goto out;
    if (memcmp(bytes, magic, MAGIC_LEN) != 0 || bytes[HEAD_LEN - 1] != '\n') goto out;
    if (fal_sha256(bytes + HEAD_LEN, len, hex, NULL) != FAL_OK || memcmp(hex, bytes + MAGIC_LEN, HEX_LEN) != 0)
        goto out;
    program = malloc(len);
    if (!program) goto out;
    memcpy(program, bytes + HEAD_LEN, len);
    *n = len;
out:
    free(bytes);
    fclose(f);
    return program;
}

/* mkdir -p */
static bool make_dir(const char *dir)
{
    char path[PATH_MAX];
    const size_t len = strlen(dir);
    if (len == 0 || len >= sizeof path) return false;
    memcpy(path, dir, len + 1);
    for (size_t i = 1; i <= len; i++) {
        if (path[i] != '/' && path[i] != '\0') continue;
        const char kept = path[i];
        path[i] = '\0';
        if (mkdir(path, 0777) != 0 && errno != EEXIST) return false;
        path[i] = kept;
    }
    return true;
}

int fal_cl_cache_store(const char *dir, const char *key, const unsigned char *bytes, size_t n)
{
    char path[PATH_MAX], part[PATH_MAX], hex[65];
    if (fal_sha256(bytes, n, hex, NULL) != FAL_OK || !make_dir(dir)) return -1;
    if (!cache_path(dir, key, "", path) || !cache_path(dir, key, ".XXXXXX", part)) return -1;
    const int fd = mkstemp(part);
    if (fd < 0) return -1;
    FILE *f = fdopen(fd, "wb");
    if (!f) {
        close(fd);
        unlink(part);
        return -1;
    }
    bool ok = fwrite(magic, 1, MAGIC_LEN, f) == MAGIC_LEN && fwrite(hex, 1, HEX_LEN, f) == HEX_LEN &&
              fputc('\n', f) != EOF && fwrite(bytes, 1, n, f) == n;
    ok = fclose(f) == 0 && ok;
    if (!ok || rename(part, path) != 0) {
        unlink(part);
        return -1;
    }
    return 0;
}
