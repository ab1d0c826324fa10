/* The table of small GGUF files in gguf_cases.def. */
#ifndef FAL_GGUF_CASES_H
#define FAL_GGUF_CASES_H

#include "falsifiers/unit/gguf_builder.h"

typedef struct {
    const char *name;
    const char *field; /* that the refusal must name; NULL when the file must be accepted */
    uint64_t offset;   /* that the refusal must name */
    void (*build)(fal_bytes *b);
} fal_gguf_case;

extern const fal_gguf_case fal_gguf_cases[];
extern const int fal_n_gguf_cases;

#endif
