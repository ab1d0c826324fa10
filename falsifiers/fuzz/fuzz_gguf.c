/* Fuzz target of the GGUF reader and the model loader, for libFuzzer: any bytes as a file, held against its promises.

   Build and run, with seeds from gguf_seeds.c, where F is "-std=c17 -D_GNU_SOURCE -I.":
     cc $F -o gguf_seeds falsifiers/fuzz/gguf_seeds.c falsifiers/unit/gguf_{cases,builder}.c harness/type.c
     clang $F -g -O1 -fsanitize=fuzzer,address,undefined -o fuzz_gguf falsifiers/fuzz/fuzz_gguf.c harness/gguf*.c
           harness/model*.c harness/text*.c harness/type.c harness/error.c harness/digest.c -lcrypto
     mkdir corpus && ./gguf_seeds corpus && ./fuzz_gguf -max_total_time=60 corpus */
#include "harness/model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(int holds, const char *promise)
{
    if (holds) return;
    fprintf(stderr, "broken promise: %s\n", promise);
    abort();
}

static void check_promises(const fal_gguf *g)
{
    uint64_t end = g->data_offset;
    must(g->data_offset <= g->size, "the data section starts within the file");
    for (uint64_t i = 0; i < g->n_tensors; i++) {
        const fal_tensor *t = &g->tensors[i];
        must(t->offset >= end, "tensors lie in order without overlap");
        must(t->offset <= g->size && t->nbytes <= g->size - t->offset, "tensors lie within the file");
        must(fal_gguf_find_tensor(g, t->name) == t, "every tensor is found by its name");
        end = t->offset + t->nbytes;
    }
    for (uint64_t i = 0; i < g->n_kv; i++) must(fal_gguf_find_kv(g, g->kv[i].key) == &g->kv[i], "every key is found");
}

/* Every refusal has a message, and no message can steer a terminal. */
static void check_refusal(fal_status status, const fal_error *err)
{
    must(status == FAL_ERR_INPUT, "bytes are refused as bad input");
    must(err->message[0] != '\0' && err->hint[0] != '\0', "a refusal says why and what to do");
    for (const char *p = err->message; *p; p++)
        must((unsigned char)*p >= 0x20, "a message holds no control characters");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static FILE *sink;
    if (!sink) sink = fopen("/dev/null", "w");
    fal_gguf *g = NULL;
    fal_model *m = NULL;
    fal_error err = { 0 };
    fal_status status = fal_gguf_open_memory(data, size, "fuzz.gguf", &g, &err);
    if (status != FAL_OK) {
        check_refusal(status, &err);
        return 0;
    }
    check_promises(g);
    if (sink) fal_gguf_print(g, sink);
    status = fal_model_bind(g, &m, &err);
    if (status != FAL_OK) {
        check_refusal(status, &err);
        return 0;
    }
    must(m->config.n_layer > 0 && m->n_tensors >= 2 + 12 * m->config.n_layer, "a model has all its tensors");
    fal_model_close(m);
    return 0;
}
