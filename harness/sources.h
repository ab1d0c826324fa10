/* The sources that this program was built from, by digest: what evidence says produced an observation. */
#ifndef FAL_SOURCES_H
#define FAL_SOURCES_H

#include <jansson.h>

/* A part of the sources: "shared" (what harness/ computes for every backend, and the interface), "reference", and one
   per backend. Made by the build from the files themselves; harness changes elsewhere leave no trace. */
typedef struct {
    const char *part, *sha256;
} fal_source;

extern const fal_source fal_sources[]; /* ends with part NULL; build/sources.c */

/* what    {"shared": sha256, "reference": sha256, <backend>: sha256}: what stands behind an observation of a backend,
           whose results are judged against the reference. A backend that was not built from sources here has null.
           NULL when memory ran out. */
json_t *fal_sources_json(const fal_source *sources, const char *backend);

#endif
