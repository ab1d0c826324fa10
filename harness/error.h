/* The one error type: a code that names an outcome, a message with the values, a hint what to do next. */
#ifndef FAL_ERROR_H
#define FAL_ERROR_H

typedef enum {
    FAL_OK = 0,
    FAL_ERR_USAGE,       /* the command line is wrong: exit 2 */
    FAL_ERR_INPUT,       /* contract, model or observation is bad: exit 3 */
    FAL_ERR_NOTHING,     /* a filter, path or id matched nothing: exit 4 */
    FAL_ERR_BLOCKED,     /* a precondition is missing (no device, no driver, not built) */
    FAL_ERR_MEMORY,      /* host or device memory ran out */
    FAL_ERR_DEVICE,      /* a driver or device call failed */
    FAL_ERR_OUTPUT,      /* a result could not be written: exit 8 */
    FAL_ERR_INTERRUPTED, /* SIGINT or SIGTERM: exit 130 */
    FAL_ERR_INTERNAL     /* our own mistake */
} fal_status;

/* what    The first failure of a call chain. message: what happened, with file, place, field, found and expected.
           hint: what to do next, may be empty. contract: stem or falsifier id that the refusal upholds, may be empty.
   owns    nothing; plain values, copy freely. Zero-initialise before use. */
typedef struct {
    fal_status code;
    char message[1024];
    char hint[320];
    char contract[64];
} fal_error;

/* what    Fills *err (when not NULL and still FAL_OK: the first failure wins) and returns code.
           hint may be NULL. fmt as printf. */
fal_status fal_fail(fal_error *err, fal_status code, const char *hint, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* what    As fal_fail, and notes the contract stem or falsifier id that demands the refusal. */
fal_status fal_fail_contract(fal_error *err, fal_status code, const char *contract, const char *hint, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));

/* what    A short lower-case name of a code ("input", "blocked", ...), never NULL. */
const char *fal_status_name(fal_status code);

#endif
