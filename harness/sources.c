/* The sources that this program was built from, by digest: what evidence says produced an observation. */
#include "harness/sources.h"

#include <string.h>

static json_t *digest_of(const fal_source *sources, const char *part)
{
    for (; sources->part; sources++)
        if (strcmp(sources->part, part) == 0) return json_string(sources->sha256);
    return json_null();
}

json_t *fal_sources_json(const fal_source *sources, const char *backend)
{
    json_t *j =
        json_pack("{s:o, s:o}", "shared", digest_of(sources, "shared"), "reference", digest_of(sources, "reference"));
    if (j && strcmp(backend, "reference") != 0) json_object_set_new(j, backend, digest_of(sources, backend));
    return j;
}
