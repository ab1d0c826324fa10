/* SHA-256 of bytes and files, as lower-case hex. */
#ifndef FAL_DIGEST_H
#define FAL_DIGEST_H

#include "harness/error.h"

#include <stddef.h>

/* what    SHA-256 (FIPS 180-4) of n bytes; hex takes 64 characters and a terminator. */
fal_status fal_sha256(const void *bytes, size_t n, char hex[65], fal_error *err);
/* what    SHA-256 of a file's content; FAL_ERR_INPUT when it cannot be read. */
fal_status fal_sha256_file(const char *path, char hex[65], fal_error *err);

#endif
