/* Synthetic cases for judgements: observations drafted in memory, then written and read with the real code. */
#ifndef FAL_JUDGE_SCENE_H
#define FAL_JUDGE_SCENE_H

#include "harness/judge.h"

/* An observation that can still be changed. */
typedef struct {
    char name[80];
    fal_dtype dtype;
    int n_dims;
    int64_t ne[4];
    size_t nbytes;
    void *data;
} fal_draft_tensor;
typedef struct {
    json_t *about;
    fal_draft_tensor tensors[320];
    int n;
} fal_draft;

/* what    Adds a tensor (its data zeroed when data is NULL) and returns its data. */
void *fal_draft_add(fal_draft *d, const char *name, fal_dtype dtype, int n_dims, const int64_t *ne, const void *data);
fal_draft_tensor *fal_draft_find(fal_draft *d, const char *name); /* fails the test when absent */
float *fal_draft_f32(fal_draft *d, const char *name);
int32_t *fal_draft_i32(fal_draft *d, const char *name);
void fal_draft_drop(fal_draft *d, const char *name);
void fal_draft_poison(fal_draft *d, const char *name);            /* all bytes 0xFF, as before a kernel ran */
void fal_draft_zero(fal_draft *d, const char *name);
void fal_draft_reshape(fal_draft *d, const char *name, int n_dims, const int64_t *ne); /* as many bytes */
fal_draft *fal_draft_copy(const fal_draft *d);
void fal_draft_free(fal_draft *d);

enum { N_TOKENS = 5, N_LAYER = 2, N_EMBD = 8, N_EXPERT = 6, N_USED = 2, N_VOCAB = 16, N_GREEDY = 8 };

/* Everything that fal_judge looks at. again, want and oracle may be NULL. */
typedef struct {
    fal_check check;
    fal_config config;
    bool has_config;
    fal_draft *got, *want, *again, *oracle;
    int oracle_prompt;
    fal_param with[6], then[4], shape[10];
    const char *taps[8], *fills[2], *prompts[4];
    uint64_t seeds[4];
} fal_scene;

/* what    A scene whose reference and candidate agree: a forward pass of 2 layers over 5 tokens, all sites. */
void fal_scene_forward(fal_scene *s, const char *judge, fal_against against);
/* what    The same with these token lists in turn (n <= 3); lists end with -1. */
void fal_scene_sequence(fal_scene *s, const char *judge, const int32_t *const *lists, int n);
/* what    One op run by the reference on a fixture with 2 seeds. shape, with and then must have been set before. */
void fal_scene_op(fal_scene *s, const char *judge, const char *op, const char *fill);
/* what    A preload of all tensors of the scene's configuration, and a refusal. */
void fal_scene_preload(fal_scene *s, const char *judge);
void fal_scene_refusal(fal_scene *s, const char *judge);
/* what    A throughput of 3 runs over 4 tokens at 200, 400 and 100 tokens/s, on a card with 1,000,000 bytes of which NVML
           saw 250,000 before and 750,000 during the runs. */
void fal_scene_throughput(fal_scene *s, const char *judge);
/* what    An observation of device code, or of another kind without tensors; about is the caller's to fill. */
void fal_scene_device_code(fal_scene *s, const char *judge);
void fal_scene_bare(fal_scene *s, const char *judge, fal_observe_kind kind);
/* what    A trial of rmsnorm over [2, 8] with 2 timed calls, in which candidate and reference agree; its account reports 20 GB/s
           of 100 GB/s. The contents A and B, and those of the timed calls, have different answers. */
void fal_scene_trial(fal_scene *s, const char *judge, fal_against against);
void fal_scene_limit(fal_scene *s, int kind, double value);       /* FAL_LIMIT_MAX, _MIN or _EQUAL */
void fal_scene_shape(fal_scene *s, const char *name, double v);   /* these append */
void fal_scene_with(fal_scene *s, const char *name, double v);
void fal_scene_then(fal_scene *s, const char *name, double v);
void fal_scene_tap(fal_scene *s, const char *glob);
fal_verdict fal_scene_judge(const fal_scene *s);
/* what    The same where an observation may be so spoilt that the reader refuses it: false then, and *v untouched. */
bool fal_scene_try(const fal_scene *s, fal_verdict *v);
void fal_scene_free(fal_scene *s);

/* One trial: make a scene that passes, change it (NULL: do not), and see this verdict. */
typedef struct {
    const char *judge;
    const char *what;                /* the rule that is protected */
    void (*make)(fal_scene *s);
    void (*change)(fal_scene *s);
    fal_verdict_kind expect;
    const char *says;                /* part of the reason, worst place or detail; NULL for any */
} fal_trial;
/* what    Runs the trial and fails the test when the verdict is another one. */
void fal_trial_run(const fal_trial *t);

extern const fal_trial fal_trials_forward[], fal_trials_op[], fal_trials_device[], fal_trials_code[];
extern const fal_trial fal_trials_exact[], fal_trials_arithmetic[];
extern const int fal_n_trials_exact, fal_n_trials_arithmetic;
extern const int fal_n_trials_forward, fal_n_trials_op, fal_n_trials_device, fal_n_trials_code;
extern const fal_trial fal_trials_candidate[];
extern const int fal_n_trials_candidate;

#endif
