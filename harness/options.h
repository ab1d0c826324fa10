/* The options of plan and run: one table from which parsing, help and suggestions are made. */
#ifndef FAL_OPTIONS_H
#define FAL_OPTIONS_H

#include "harness/error.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

typedef struct {
    const char **items;
    int n;
} fal_names; /* strings are borrowed from argv, or from the options */

typedef enum { FAL_COLOR_AUTO, FAL_COLOR_ALWAYS, FAL_COLOR_NEVER } fal_color;

typedef enum { FAL_FOR_PLAN, FAL_FOR_RUN, FAL_FOR_BISECT, FAL_FOR_PROVE } fal_options_for;

typedef struct {
    fal_names globs;     /* -k: of falsifier ids, "id/check" or case ids; empty: all */
    fal_names only;      /* --only: whole ids; empty: all */
    fal_names contracts; /* globs of contract stems */
    fal_names backends, stages;
    fal_names require; /* backends whose cases must run; reference, opencl unless given */
    bool require_given;
    const char *device;   /* NULL: first usable */
    const char *model;    /* NULL: the shipped one under root */
    const char *root;     /* NULL: see fal_paths_find */
    const char *evidence; /* NULL: evidence under root */
    const char *keep;     /* folder to keep observation files in, or NULL */
    uint64_t seed;
    bool has_seed;
    double timeout_s; /* per observation */
    int repeat;       /* times that each observation is made; 0 counts as 1 */
    bool no_taps, nvtx; /* for profilers */
    bool json, fail_fast, no_probe, verbose, help;
    bool heavy; /* plan heavy cases too */
    bool no_bisect;       /* a failure is reported only */
    const char *capsules; /* NULL: capsules in the evidence folder */
    const char *tokens;   /* of bisect: a prompt, or NULL */
    const char *op, *candidate; /* a kernel on trial, and what it computes; both or none. backends is then "candidate" */
    uint64_t soak_first; /* --soak: single operations alone, with seeds from here on ... */
    int n_soak;          /* ... in place of the contracts' own; 0: not asked for */
    /* prove */
    fal_names mutants;       /* globs of ids; empty: all */
    const char *mutant_code; /* folder of built CUDA mutants, or NULL */
    const char *sources;     /* folder to write the sources of CUDA mutants to, or NULL */
    bool list;
    int jobs; /* 0: by the number of cores */
    fal_color color;
    char *require_text; /* owned copy that require points into */
} fal_options;

/* what    Parses the arguments of plan, run or prove (argv[0] is the command).
   refuses an unknown option (with the nearest name), a missing or malformed value, a positional argument: FAL_ERR_USAGE
   owns    *out: fal_options_free */
fal_status fal_options_parse(int argc, char **argv, fal_options_for which, fal_options *out, fal_error *err);
void fal_options_free(fal_options *o);
/* what    Prints usage and the option table of the command. */
void fal_options_help(fal_options_for which, FILE *f);

/* Where things lie, after the options are known. */
typedef struct {
    char *root, *contracts, *model, *evidence; /* owned */
    bool model_given; /* by --model; then its absence is an error, not a missing precondition */
} fal_paths;

/* what    root is --root, else the current folder when it has a contracts folder, else datadir when that has one.
           The model and evidence folders follow from root unless given; evidence of an installed root lies in the
           current folder.
   refuses a root without a contracts folder with FAL_ERR_NOTHING
   owns    *out: fal_paths_free */
fal_status fal_paths_find(const fal_options *o, const char *datadir, fal_paths *out, fal_error *err);
void fal_paths_free(fal_paths *p);

#endif
