/* Mutants: kernels and backends wrong on purpose, one known fault each, which show that a falsifier can fail. */
#ifndef FAL_MUTANT_H
#define FAL_MUTANT_H

#include "harness/backend.h"

#include <stdio.h>

/* What a mutant at the border does to one call of an operation: outputs as they were before the call (was), as they are
   after it (is), and as the call before left them (last, NULL when there was none of the same size). */
typedef struct {
    int op;                /* of ops.def, in its order */
    int n_outputs;
    struct {
        void *is, *was, *last;
        size_t n, row;     /* elements of 4 bytes, and of one row */
        bool is_i32;
    } output[2];
    void *scratch[2];      /* memory of a hook, freed after the call */
    uint64_t n_calls;      /* of any op since the backend was opened */
} fal_border_call;

/* Rows of one site on their way through a forward pass. Every site of mask `needs` can be read back: seen[site] holds the
   rows of this layer (or of the last one that had the site), indexed from the first row of the call. */
typedef struct {
    const fal_config *config;
    fal_site site;
    int layer, first, n;   /* rows [first, first + n) of the call */
    int pos;               /* position of row `first` */
    size_t width;          /* elements of a row */
    const float *seen[FAL_N_SITES];
    const float *row_before; /* of the same site: the row before `first`, or NULL */
    int n_tokens;          /* of the call */
    uint64_t n_calls;      /* forward calls before this one */
} fal_flow;

/* One mutant: what is wrong, where it is planted, and which falsifier names its fault. */
typedef struct {
    const char *id, *what;
    const char *named_by;   /* falsifier that names the fault */
    bool by_chance;         /* a missing barrier: which falsifier sees it is a matter of timing, so any that looks may name it */
    const char *equivalent; /* why it changes no result that anybody may rely on; NULL for a true fault */
    const char *seen_by;    /* "FALSIFIER/check" that sees an equivalent mutant all the same, or NULL */
    const char *op;         /* whose calls can show it; "*" for any; NULL when only forward passes can */
    /* in the source: `from` stands exactly once in opencl/<file>.cl and, its words changed, in cuda/<file>.cu */
    const char *file;       /* NULL for the op's own; "quant" for the prelude as this op has it */
    const char *variant;    /* NULL for the exact class; "cpu" is OpenCL's alone, "fast" and "fast_kv16" are CUDA's */
    /* without a twin: `from` stands in cuda/<module>.cu, or in cuda/<file>.cuh as this module has it, word for word */
    const char *module;     /* of the fused path; NULL for sources that both backends have */
    bool of_prompt;         /* its kernel runs for several tokens at once, and never for one */
    const char *type;       /* weight type whose calls can show it, or NULL */
    const char *from, *to;
    const char *cu_from, *cu_to; /* where the twin's text differs by more than words; NULL: as above */
    /* at the border of the backend */
    void (*before)(fal_border_call *c, void *args); /* changes a copy of the arguments */
    void (*after)(fal_border_call *c, const void *args); /* changes the outputs */
    uint32_t at, needs;     /* sites (1 << FAL_SITE_x) whose rows `flow` changes, and those that it reads */
    void (*flow)(const fal_flow *f, float *y);
    bool only_onward;       /* the site shows the right rows, and the next operation reads the wrong ones */
    enum { FAL_LIE_NONE, FAL_LIE_ACCEPTS, FAL_LIE_LEAKS, FAL_LIE_UPLOADS_TWICE, FAL_LIE_OTHER_BYTES, FAL_LIE_EXPANDS } lie;
} fal_mutant;

/* what    All mutants of falsifiers/mutants.def in their order; the one of that id, or NULL. */
const fal_mutant *fal_mutant_all(int *n);
const fal_mutant *fal_mutant_find(const char *id);
/* what    Whether it can be planted in that backend at all: sources in those that have them. */
bool fal_mutant_fits(const fal_mutant *m, const char *backend);
/* what    Whether it is made from the source of a kernel. */
bool fal_mutant_is_source(const fal_mutant *m);
/* what    The file of device code that a mutant in a source takes the place of: its module, else its op. */
const char *fal_mutant_module(const fal_mutant *m);

/* what    The source text of a file with its mutation, for cuda or opencl. text: the file as shipped.
   refuses a pattern that does not stand in the text exactly once: FAL_ERR_INPUT, with how often it does
   owns    *out: free */
fal_status fal_mutant_apply(const fal_mutant *m, bool cuda, const char *text, size_t length, char **out, size_t *out_length,
                            fal_error *err);

/* what    Opens a backend with a mutant in it. *out is its table, whose name is that of the real one; device, memory and
           everything that the mutant does not touch are the real one's. code_dir: folder with <id>.fatbin for CUDA.
   refuses an unknown mutant, one that does not fit: FAL_ERR_USAGE; CUDA code that is not there: FAL_ERR_BLOCKED
   owns    *ctx: (*out)->close */
fal_status fal_mutant_open(const char *id, const char *code_dir, const fal_backend *real, const fal_backend_options *options,
                           const fal_backend **out, fal_context **ctx, fal_error *err);

/* what    Writes what nvcc needs for every source mutant of CUDA: <dir>/<id>/<module>.cu and the header that may be
           changed, from <root>/cuda. *n: how many. Prints one line "<id> <module>" for each to list.
   refuses FAL_ERR_INPUT for a pattern that does not match, FAL_ERR_OUTPUT */
fal_status fal_mutant_write_cuda(const char *root, const char *dir, FILE *list, int *n, fal_error *err);

#endif
