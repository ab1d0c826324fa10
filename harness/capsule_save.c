/* Keeping a capsule: one more trial, whose outputs go into the file beside the inputs. */
#include "harness/capsule.h"

#include "harness/evidence.h"
#include "harness/text.h"

#include <stdlib.h>
#include <sys/stat.h>

fal_status fal_capsule_save(fal_bench *bench, fal_capsule *c, json_t *origin, const char *folder, const char *name,
                            char **path, fal_attempt *a, uint64_t *bytes, fal_error *err)
{
    fal_capsule_outputs outputs = { 0 };
    fal_text t = { 0 };
    struct stat sb;
    const fal_status made = fal_make_folders(folder, err);
    if (made) return made;
    fal_text_addf(&t, "%s/%s.capsule", folder, name);
    if (t.failed) {
        fal_text_free(&t);
        return fal_fail(err, FAL_ERR_MEMORY, NULL, "no memory for a path");
    }
    json_decref(c->origin);
    c->origin = json_incref(origin);
    fal_capsule_try(bench, c, a, &outputs); /* once more, for the values that go beside the inputs */
    fal_status st = a->observed && a->fails
                        ? FAL_OK
                        : fal_fail(err, FAL_ERR_DEVICE, NULL,
                                   "the shrunk call failed in its trial and not afterwards: %.400s", a->reason);
    if (!st) st = fal_capsule_write(c, &outputs, t.data, err);
    fal_observation_close(outputs.got);
    fal_observation_close(outputs.want);
    if (st) {
        fal_text_free(&t);
        return st;
    }
    *bytes = stat(t.data, &sb) == 0 ? (uint64_t)sb.st_size : 0;
    *path = t.data;
    return FAL_OK;
}
