/* SHA-256 of bytes and files, computed by OpenSSL's libcrypto. */
#include "harness/digest.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FAL_SHA256_BYTES = 32, FAL_READ_BYTES = 1 << 16 };

static fal_status no_digest(fal_error *err, const char *step)
{
    return fal_fail(err, FAL_ERR_INTERNAL, "is the OpenSSL library complete, with its default provider?",
                    "SHA-256: %s failed", step);
}

static void to_hex(const unsigned char sum[FAL_SHA256_BYTES], char hex[65])
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < FAL_SHA256_BYTES; i++) {
        hex[2 * i] = digits[sum[i] >> 4];
        hex[2 * i + 1] = digits[sum[i] & 15];
    }
    hex[2 * FAL_SHA256_BYTES] = '\0';
}

fal_status fal_sha256(const void *bytes, size_t n, char hex[65], fal_error *err)
{
    unsigned char sum[EVP_MAX_MD_SIZE];
    unsigned length = 0;
    if (!bytes && n > 0) return fal_fail(err, FAL_ERR_INTERNAL, NULL, "SHA-256: %zu bytes at address NULL", n);
    if (EVP_Digest(n > 0 ? bytes : "", n, sum, &length, EVP_sha256(), NULL) != 1 || length != FAL_SHA256_BYTES)
        return no_digest(err, "EVP_Digest");
    to_hex(sum, hex);
    return FAL_OK;
}

fal_status fal_sha256_file(const char *path, char hex[65], fal_error *err)
{
    fal_status status = FAL_OK;
    EVP_MD_CTX *ctx = NULL;
    unsigned char buffer[FAL_READ_BYTES];
    unsigned char sum[EVP_MAX_MD_SIZE];
    unsigned length = 0;
    ssize_t got = 0;

    struct stat st;

    /* O_NONBLOCK: opening a FIFO without a writer would wait for ever. */
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return fal_fail(err, FAL_ERR_INPUT, "check the path and its permissions", "%s: cannot be opened: %s", path,
                        strerror(errno));
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        status = fal_fail(err, FAL_ERR_INPUT, "give the path of a file", "%s: is not a regular file", path);
        goto out;
    }
    ctx = EVP_MD_CTX_new();
    if (!ctx || EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) != 1) {
        status = no_digest(err, "EVP_DigestInit_ex");
        goto out;
    }
    for (;;) {
        got = read(fd, buffer, sizeof buffer);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) break;
        if (EVP_DigestUpdate(ctx, buffer, (size_t)got) != 1) {
            status = no_digest(err, "EVP_DigestUpdate");
            goto out;
        }
    }
    if (got < 0) {
        status = fal_fail(err, FAL_ERR_INPUT, "the storage below it may have failed", "%s: cannot be read: %s", path,
                          strerror(errno));
        goto out;
    }
    if (EVP_DigestFinal_ex(ctx, sum, &length) != 1 || length != FAL_SHA256_BYTES) {
        status = no_digest(err, "EVP_DigestFinal_ex");
        goto out;
    }
    to_hex(sum, hex);
out:
    EVP_MD_CTX_free(ctx);
    close(fd);
    return status;
}
