/* What the families of judgements share: giving a value, giving up, doubting, naming places, and finding both sides. */
#ifndef FAL_JUDGEMENT_H
#define FAL_JUDGEMENT_H

#include "falsifiers/metrics.h"
#include "harness/backend.h"
#include "harness/judge.h"

/* A judgement function starts from a zeroed verdict with kind FAL_NOT_RUN and either
     gives a value (fal_give): fal_judge then applies the limit and writes the sentence, or
     stops (fal_stop) with a final kind and reason.
   With a value it may also doubt (fal_doubt): a pass is then mistrusted, a falsification stays one. */

/* what    Sets metric value and number of compared things; note, a clause that ends the sentence, may be NULL. */
void fal_give(fal_verdict *out, double value, uint64_t n_compared, const char *note, ...)
    __attribute__((format(printf, 4, 5)));
/* what    Ends the judgement with this kind and reason. Returns false, so that callers can return it. */
bool fal_stop(fal_verdict *out, fal_verdict_kind kind, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* what    The attempt could not have failed, for this reason. The first doubt wins; call after fal_give. */
void fal_doubt(fal_verdict *out, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* A judgement may also set out->marginal: a pass is then marked, for the reason that its note gives. */
/* what    Falsified by a rule beside the limit, whatever the value; the reason says which. Call after fal_give. */
void fal_refute(fal_verdict *out, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* what    Appends to out->detail whole, or not at all when there is no room. Returns whether it fitted. */
bool fal_detail(fal_verdict *out, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* what    value <= max, >= min or == equal. NaN never holds. */
bool fal_limit_holds(const fal_limit *limit, double value);
/* what    True when v is further up (down for fal_lower) than *worst, or the first NaN; then *worst = v. Start from
           -infinity (+infinity). NaN, once there, stays. */
bool fal_higher(double *worst, double v);
bool fal_lower(double *worst, double v);
/* what    Notes the worst place: "r2 blk.2.attn[17, 3, 40]" for element `flat` of t; the request only when several. */
void fal_worst_at(fal_verdict *out, const fal_observation *o, int request, const char *name, const fal_obs_tensor *t,
                  size_t flat, double got, double want);

/* ---- observations ---------------------------------------------------------------------------------------------- */

/* Whose observation it is decides what a missing tensor means. */
typedef enum { FAL_SIDE_GOT, FAL_SIDE_AGAIN, FAL_SIDE_WANT } fal_side;
/* what    Tensor of a request, or NULL after stopping: CRASHED when the backend on trial did not deliver it, ERROR when
           the reference did not. */
const fal_obs_tensor *fal_need(fal_verdict *out, const fal_observation *o, fal_side side, int request,
                               const char *name);
/* what    Stops with FALSIFIED (ERROR for the reference's side) unless t has this type and shape. */
bool fal_need_shape(fal_verdict *out, fal_side side, const char *name, const fal_obs_tensor *t, fal_dtype dtype,
                    int n_dims, const int64_t *ne);
/* what    "F32 [18, 8, 64]" */
void fal_shape_text(char *text, size_t size, fal_dtype dtype, int n_dims, const int64_t *ne);
/* what    The observation that check->against names (want, again, or oracle), or NULL after stopping. */
const fal_observation *fal_other(const fal_evidence_in *in, fal_verdict *out);
/* what    about.requests[r] as JSON, or NULL. */
const json_t *fal_about_request(const fal_observation *o, int request);

/* ---- forward passes -------------------------------------------------------------------------------------------- */

/* A site of one layer that the check's taps name, and its shape per token. */
typedef struct {
    char name[48];
    fal_site site;
    int layer, sub, width; /* layer -1 for sites of the whole model */
} fal_tap;
typedef struct {
    fal_tap *items;
    int n;
    fal_config config;
} fal_tap_list;

/* what    Taps of the check in forward order ("all" is every site); fallback (a glob) when it lists none.
   refuses a glob that matches nothing, and a missing configuration: stops with ERROR
   owns    list->items: free */
bool fal_taps_make(const fal_evidence_in *in, const char *fallback, fal_tap_list *list, fal_verdict *out);
/* what    Requests that the observation must hold: check->n_prompts for a sequence, else 1; stops with CRASHED when it
           holds fewer. */
bool fal_requests_of(const fal_evidence_in *in, int *n, fal_verdict *out);
/* what    Tokens of request r, from the most trusted source at hand (oracle, reference, what was asked), after
           making sure that the backend on trial says it ran the same tokens.
   owns    nothing: *tokens is borrowed from an observation (NULL when they came from an oracle file) */
bool fal_tokens_of(const fal_evidence_in *in, int request, const json_t **tokens, int *n_tokens, fal_verdict *out);
/* what    A tap of the backend on trial with its shape checked, or NULL after stopping. */
const fal_obs_tensor *fal_tap_of(fal_verdict *out, const fal_observation *o, fal_side side, int request,
                                 const fal_tap *tap, int n_tokens);

/* Both sides of one tap, row i of want against the row of got at the same position. */
typedef struct {
    const fal_obs_tensor *got, *want;
    const fal_obs_tensor *positions; /* I32, of the oracle; NULL when every position is there */
    size_t n_rows, row;              /* rows of want; elements per row */
} fal_pair;
typedef enum { FAL_PAIR_STOPPED, FAL_PAIR_ABSENT, FAL_PAIR_READY } fal_pair_status;
/* what    Finds both sides. ABSENT: the oracle cannot know this site. */
fal_pair_status fal_pair_of(const fal_evidence_in *in, const fal_config *c, int request, const fal_tap *tap,
                            fal_pair *pair, fal_verdict *out);
size_t fal_pair_position(const fal_pair *p, size_t i);
fal_row fal_pair_got(const fal_pair *p, size_t i);
fal_row fal_pair_want(const fal_pair *p, size_t i);
/* what    True when all rows of `row` elements of t hold the same bytes, and there are at least 2. */
bool fal_rows_constant(const fal_obs_tensor *t, size_t row);

/* scan.c: many rows of both sides under one metric, and whether the metric could have seen a difference at all */
typedef double (*fal_metric_fn)(fal_row got, fal_row want);
typedef struct {
    fal_metric_fn metric;
    bool lower;                  /* lower is worse (cosine) */
    double worst;
    uint64_t rows, beyond;       /* compared; and of those, how many break the limit */
    bool any_nonzero;            /* an element other than 0 on either side */
    bool has_neighbours, neighbours_differ; /* a row of want held against its neighbour breaks the limit */
    bool has_many, got_varies;   /* some tensor has several rows; they are not all the same */
    bool want_not_finite;        /* at the worst place */
} fal_scan;
void fal_scan_start(fal_scan *s, fal_metric_fn metric, bool lower);
/* what    Compares all rows of a pair and notes the worst place in *out. Returns how many broke the limit; *worst_here
           (may be NULL) is the worst value of this pair. */
uint64_t fal_scan_pair(fal_scan *s, const fal_evidence_in *in, const fal_observation *o, int request, const char *name,
                       const fal_pair *p, double *worst_here, fal_verdict *out);
/* what    Gives the value, and doubts when zeros, constants or a neighbour's row would have passed as well. */
void fal_scan_finish(const fal_scan *s, const fal_evidence_in *in, fal_verdict *out);
/* op_difference.c: rel_l2 for observations of kind op */
void fal_judge_op_rel_l2(const fal_evidence_in *in, fal_verdict *out);
/* what    Scans all taps of all requests (parity.c): the body of cosine, rel_l2 and decode_matches_prefill. */
void fal_judge_rows(const fal_evidence_in *in, fal_metric_fn metric, bool lower, fal_verdict *out);

/* oracle.c */
/* what    Name of the oracle's tensor for a site ("p4.hidden.3"), false when the oracle has none for it. */
bool fal_oracle_name(const fal_config *c, const fal_tap *tap, int prompt, char *name, size_t size);
/* what    A tensor of the oracle file by its exact name, NULL when absent. */
const fal_obs_tensor *fal_oracle_find(const fal_observation *oracle, const char *name);
/* what    about.prompts[j].<key> as a JSON array, NULL when absent. */
const json_t *fal_oracle_list(const fal_observation *oracle, int prompt, const char *key);
/* what    The oracle's side of a tap; STOPPED when the prompt is not in the file or shapes disagree. */
fal_pair_status fal_oracle_pair(const fal_evidence_in *in, const fal_config *c, const fal_tap *tap, fal_pair *pair,
                                fal_verdict *out);

/* router_flips.c: which expert sets differ, and which of these are near-ties of the reference */
typedef struct {
    uint64_t n_sets, n_excused, n_unexcused;
    bool too_many_excused;   /* more than with.max_excused_share of n_sets */
    bool has_neighbours, neighbours_differ; /* some set differs from the one at the next position */
    bool all_used;           /* every expert is used, so sets cannot differ */
    double widest_gap;       /* of the reference's logits over all sets that differ; NaN: one was no set of experts */
} fal_flips;
/* what    Compares the expert sets of request r over the layers of list whose tap is expert_ids, and adds to *flips
           (zero-initialised). *first_excused: lowest position of this request with an excused flip, or -1. With report,
           the first unexcused flip becomes the worst place and flips are listed in the detail. */
bool fal_flips_add(const fal_evidence_in *in, const fal_tap_list *list, int request, bool report, fal_flips *flips,
                   int *first_excused, fal_verdict *out);
/* what    Closes the account: too_many_excused. */
void fal_flips_close(const fal_evidence_in *in, fal_flips *flips);

/* greedy.c */
/* A greedy continuation: about.requests[r].greedy, or the I32 tensor "greedy". */
typedef struct {
    const json_t *list;
    const fal_obs_tensor *tensor;
    int n;
} fal_continuation;
/* what    False when the request has none. */
bool fal_continuation_of(const fal_observation *o, int request, fal_continuation *out);
int64_t fal_continuation_at(const fal_continuation *c, int i);

/* ---- ops ------------------------------------------------------------------------------------------------------- */

/* op_case.c */
/* The op requests of an observation, checked against the check. stride: 2 when `then` adds a second request. */
typedef struct {
    const fal_evidence_in *in;
    fal_verdict *out;
    int n_requests, stride;
} fal_op_case;
/* what    Opens an op observation; stops with CRASHED when requests are missing, ERROR when it is of another op or
           seed. */
bool fal_op_open(const fal_evidence_in *in, fal_verdict *out, fal_op_case *c);
/* what    The same for judgements that compare request 2i with 2i + 1; stops with ERROR without a `then`. */
bool fal_op_open_pairs(const fal_evidence_in *in, fal_verdict *out, fal_op_case *c);
/* what    The op of request r (`then` may change it), a number of its parameters, its outputs (NULL-terminated). */
const char *fal_op_of(const fal_op_case *c, int request);
double fal_op_number(const fal_op_case *c, int request, const char *name, double fallback);
/* what    A parameter that is a dimension; -1 when absent, no integer, or beyond 2^31 - 1. */
int64_t fal_op_dim(const fal_op_case *c, int request, const char *name);
const char *const *fal_op_outputs(const char *op);
/* what    in.<arg> and out.<arg> of the backend on trial; out with the type and shape that the inputs demand. NULL
           after stopping: CRASHED when missing, FALSIFIED when misshapen. Both have at least one dimension. */
const fal_obs_tensor *fal_op_in(const fal_op_case *c, int request, const char *arg);
const fal_obs_tensor *fal_op_out(const fal_op_case *c, int request, const char *arg);
/* what    in.<arg> with n_dims dimensions given as int64_t *: one that is -1 takes the tensor's, another must equal it.
           NULL after stopping with ERROR. */
const fal_obs_tensor *fal_op_in_shape(const fal_op_case *c, int request, const char *arg, fal_dtype dtype, int n_dims,
                                      ...);
/* what    Stops with ERROR unless the check has this op. */
bool fal_op_is(const fal_op_case *c, const char *op);
/* what    True when zero outputs are what the check asks for: fill zeros, with.expect_zero, or with.expect: 0. */
bool fal_zeros_expected(const fal_evidence_in *in);
/* what    True when requests a and b have the same op, scalars, input shapes and input bits, so that comparing them
           cannot show a change. */
bool fal_op_same_request(const fal_op_case *c, int a, int b);
/* what    Doubts when no output was ever other than 0 and zeros are not expected. Call after fal_give. */
void fal_op_doubt_zero(const fal_op_case *c, bool any_nonzero);

/* exact_blocks.c */
/* what    Says in text which weights must be wrong for out.y to differ, when some rows of x look at one block of columns
           only; adds lines to the detail. Leaves text alone when nothing can be said. */
void fal_blocks_name(const fal_op_case *c, int request, const fal_obs_tensor *got, const fal_obs_tensor *want, char *text,
                     size_t size);

#define FAL_JUDGEMENT(name, kinds, metric, function, help) void function(const fal_evidence_in *in, fal_verdict *out);
#include "falsifiers/judgements.def"

#endif
