/* What contracts wait for, looked up again: a file, tool or device that is there now ends a "pending". */
#ifndef FAL_AWAITED_H
#define FAL_AWAITED_H

#include "harness/contract.h"
#include "harness/devices.h"

typedef enum { FAL_AWAITED_ABSENT, FAL_AWAITED_PRESENT, FAL_AWAITED_NOT_LOOKED } fal_awaited_state;

typedef struct {
    const fal_contract *contract;
    const fal_stage *stage; /* NULL: the contract as a whole */
    const char *what;       /* "device:cuda/RTX 4090" */
    int index;              /* in waits_for */
    fal_awaited_state state;
    char found[256]; /* where, or which device */
} fal_awaited;

typedef struct {
    fal_awaited *items;
    int n;
} fal_awaited_list;

/* Where to look. */
typedef struct {
    const char *root;         /* files are relative to it */
    const char *path;         /* PATH for tools, or NULL */
    const fal_probes *probes; /* NULL: nobody looks for devices */
} fal_whereabouts;

/* what    Every waits_for of every contract and stage, in order, looked up.
   owns    out->items: free */
fal_status fal_awaited_look(const fal_contract_set *set, const fal_whereabouts *where, fal_awaited_list *out,
                            fal_error *err);
/* what    The backends whose devices are waited for, without repeats; strings are of fal_backend. At most most. */
int fal_awaited_backends(const fal_contract_set *set, const char **names, int most);

#endif
