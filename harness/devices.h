/* What devices there are: asked of every backend, drivers in a child process that may crash or hang. */
#ifndef FAL_DEVICES_H
#define FAL_DEVICES_H

#include "harness/backend.h"
#include "harness/options.h"

#include <jansson.h>

enum { FAL_MAX_DEVICES = 32, FAL_MAX_BACKENDS = 8 };

typedef enum {
    FAL_PROBE_NOT_ASKED, /* plan --no-probe */
    FAL_PROBE_FOUND,     /* n >= 1 devices */
    FAL_PROBE_BLOCKED    /* none; error says why */
} fal_probe_state;

typedef struct {
    const fal_backend *backend;
    fal_probe_state state;
    fal_device_info devices[FAL_MAX_DEVICES];
    int n;
    fal_error error;
} fal_probe;

/* One probe per backend, in the order of fal_backend_all. */
typedef struct {
    fal_probe items[FAL_MAX_BACKENDS];
    int n;
} fal_probes;

/* what    A list that asked nobody. Owned by the caller (free); NULL when memory ran out. */
fal_probes *fal_probes_make(void);
/* what    Asks one backend in this process. */
void fal_probe_here(fal_probe *p);
/* what    Asks every backend (or only those named, when any is): the reference in this process, the others by
           `program devices --here NAME` in a child that has limit_s seconds. A child that crashes or hangs makes
           its backend blocked, with what happened. Interruptible by *stop. */
void fal_probes_ask(fal_probes *all, const fal_names *only, const char *program, double limit_s,
                    const volatile int *stop);

/* what    The device that a selector names: an index, a UUID, a slug, the name or part of it; NULL or "" is the
           first GPU, else the first device. NULL when there is no such device, or nobody asked. */
const fal_device_info *fal_probe_choose(const fal_probe *p, const char *selector);

/* what    {backend, variants, devices: [...]} or {backend, variants, blocked, hint} or {backend, variants,
           not_probed: true}.
   owns    the result belongs to the caller; NULL when memory ran out */
json_t *fal_probe_to_json(const fal_probe *p);
/* what    Fills *p (whose backend is set) from such an object.
   refuses anything malformed with FAL_ERR_INPUT */
fal_status fal_probe_from_json(const json_t *j, fal_probe *p, fal_error *err);

#endif
