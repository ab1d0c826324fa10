/* Fuzz target of an observer's input, for libFuzzer: any bytes as one JSON line; what is read as a spec survives a round trip. */
#include "harness/observe.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

static void must(int holds, const char *promise)
{
    if (holds) return;
    fprintf(stderr, "broken promise: %s\n", promise);
    abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    json_error_t je;
    json_t *j = json_loadb((const char *)bytes, n, JSON_REJECT_DUPLICATES, &je);
    if (!j) return 0;
    fal_spec_box *box = NULL, *again = NULL;
    const fal_spec *spec = NULL, *same = NULL;
    fal_error err = { 0 };
    if (fal_spec_from_json(j, &box, &spec, &err) == FAL_OK) {
        json_t *out = fal_spec_to_json(spec);
        fal_error why = { 0 };
        must(out != NULL, "a spec that was read can be written");
        must(fal_spec_from_json(out, &again, &same, &why) == FAL_OK, "and read again");
        json_t *second = fal_spec_to_json(same);
        must(json_equal(out, second), "and is then the same");
        json_decref(second);
        json_decref(out);
    } else {
        must(err.code == FAL_ERR_INPUT && err.message[0], "a refusal has a code and a message");
    }
    fal_spec_free(again);
    fal_spec_free(box);
    json_decref(j);
    return 0;
}
