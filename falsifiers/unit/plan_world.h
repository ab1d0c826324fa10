/* A small made-up world for tests of plan, run, evidence and report: two contracts, three backends, a device each
   or none. */
#ifndef FAL_PLAN_WORLD_H
#define FAL_PLAN_WORLD_H

#include "harness/plan.h"

typedef struct {
    fal_options options;
    fal_probes *probes;
    fal_plan *plan;
    fal_error err;
} fal_world;

typedef enum { FAL_WORLD_NO_DEVICES, FAL_WORLD_CPU, FAL_WORLD_GPU } fal_world_devices;

/* what    The contracts of the world: "alpha-v1" (op and forward checks, a stage, an unbound and a retired claim) and
           "beta-v1" (against the oracle, determinism, teacher, pinned, decode, preload, refusal). */
const fal_contract_set *fal_world_contracts(void);
/* what    Options from a command line (NULL-terminated, without the command), devices of opencl as asked, cuda
           blocked, then the plan on the model. Returns the plan's status; w->err tells why. */
fal_status fal_world_make(fal_world *w, fal_world_devices devices, const char *model, const char *const *arguments);
void fal_world_free(fal_world *w);
/* what    The case of that id, or NULL; how many there are of a backend and variant (NULL: any). */
const fal_case *fal_world_case(const fal_world *w, const char *id);
int fal_world_count(const fal_world *w, const char *backend, const char *variant);

#endif
