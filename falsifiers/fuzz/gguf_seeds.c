/* Writes the small GGUF files of the tests, and a complete tiny model, into a folder: seeds for the fuzz target. */
#include "falsifiers/unit/gguf_cases.h"

#include <stdio.h>
#include <stdlib.h>

static int write_seed(const char *folder, const char *name, const fal_bytes *b)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "wb");
    if (!f) {
        perror(path);
        return 1;
    }
    const size_t written = b->len ? fwrite(b->data, 1, b->len, f) : 0;
    return (fclose(f) != 0) | (written != b->len);
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: %s FOLDER\n", argv[0]);
        return 2;
    }
    int failed = 0;
    for (int i = 0; i < fal_n_gguf_cases; i++) {
        fal_bytes b = { 0 };
        fal_gguf_cases[i].build(&b);
        failed |= write_seed(argv[1], fal_gguf_cases[i].name, &b);
        fal_bytes_free(&b);
    }
    fal_builder model = { 0 };
    fal_bytes b = { 0 };
    fal_builder_qwen3moe(&model, &fal_builder_tiny);
    fal_builder_write(&model, &b);
    failed |= write_seed(argv[1], "tiny_model", &b);
    fal_bytes_free(&b);
    fal_builder_free(&model);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
