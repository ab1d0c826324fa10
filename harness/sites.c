/* The facts of harness/ops.def at run time: names of operations and tap sites, and the shape of each site. */
#include "harness/backend.h"

#include <string.h>

static const fal_site_info sites[] = {
#define LAYER true
#define MODEL false
#define F32 false
#define I32 true
#define FAL_SITE(site, op, scope, type, sub, width) { #site, #op, scope, type },
#include "harness/ops.def"
#undef LAYER
#undef MODEL
#undef F32
#undef I32
};

static const char *const ops[] = {
#define FAL_OP(op) #op,
#include "harness/ops.def"
};

const fal_site_info *fal_site_get(fal_site site)
{
    return &sites[site];
}

void fal_site_shape(fal_site site, const fal_config *c, int *sub, int *width)
{
    switch (site) {
#define FAL_SITE(site, op, scope, type, s, w) \
    case FAL_SITE_##site: *sub = s; *width = w; return;
#include "harness/ops.def"
    case FAL_N_SITES: break;
    }
    *sub = *width = 0;
}

int fal_site_by_name(const char *name)
{
    for (int i = 0; i < FAL_N_SITES; i++)
        if (strcmp(sites[i].name, name) == 0) return i;
    return -1;
}

int fal_n_ops(void)
{
    return (int)(sizeof ops / sizeof ops[0]);
}

const char *fal_op_name(int i)
{
    return ops[i];
}
