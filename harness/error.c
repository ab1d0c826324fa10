/* The one error type: filling it, and the names of its codes. */
#include "harness/error.h"

#include <stdarg.h>
#include <stdio.h>

static fal_status fail_v(fal_error *err, fal_status code, const char *contract, const char *hint,
                         const char *fmt, va_list ap)
{
    if (err && err->code == FAL_OK) {
        err->code = code;
        vsnprintf(err->message, sizeof err->message, fmt, ap);
        snprintf(err->hint, sizeof err->hint, "%s", hint ? hint : "");
        snprintf(err->contract, sizeof err->contract, "%s", contract ? contract : "");
    }
    return code;
}

fal_status fal_fail(fal_error *err, fal_status code, const char *hint, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fail_v(err, code, NULL, hint, fmt, ap);
    va_end(ap);
    return code;
}

fal_status fal_fail_contract(fal_error *err, fal_status code, const char *contract, const char *hint,
                             const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fail_v(err, code, contract, hint, fmt, ap);
    va_end(ap);
    return code;
}

const char *fal_status_name(fal_status code)
{
    static const char *const names[] = {
        [FAL_OK] = "ok",
        [FAL_ERR_USAGE] = "usage",
        [FAL_ERR_INPUT] = "input",
        [FAL_ERR_NOTHING] = "nothing",
        [FAL_ERR_BLOCKED] = "blocked",
        [FAL_ERR_MEMORY] = "memory",
        [FAL_ERR_DEVICE] = "device",
        [FAL_ERR_OUTPUT] = "output",
        [FAL_ERR_INTERRUPTED] = "interrupted",
        [FAL_ERR_INTERNAL] = "internal",
    };
    if ((unsigned)code >= sizeof names / sizeof names[0]) return "unknown";
    return names[code];
}
