/* Trials of the judgements of exact fills: faults that are found or missed, and blocks that are named. */
#include "falsifiers/unit/judge_scene.h"

#include <check.h>
#include <math.h>
#include <string.h>

/* ---- planted faults ---------------------------------------------------------------------------------------------- */

static void shape(fal_scene *s, const char *type, double n_tokens, double n_in, double n_out)
{
    fal_scene_shape(s, "n_tokens", n_tokens);
    fal_scene_shape(s, "n_in", n_in);
    fal_scene_shape(s, "n_out", n_out);
    s->shape[s->check.n_shapes++] = (fal_param){ "type", 0, type };
}

static void make_faults(fal_scene *s)
{
    shape(s, "Q4_K", 3, 512, 9);
    fal_scene_then(s, "faults", 3);
    fal_scene_op(s, "faults_named", "matmul", "exact");
    fal_scene_limit(s, FAL_LIMIT_EQUAL, 0);
    s->check.against = FAL_AGAINST_SELF;
}

static void make_expert_faults(fal_scene *s)
{
    fal_scene_shape(s, "n_expert", 4);
    fal_scene_shape(s, "n_expert_used", 2);
    shape(s, "Q6_K", 6, 512, 5);
    fal_scene_then(s, "faults", 5);
    fal_scene_op(s, "faults_named", "moe_matmul", "exact");
    fal_scene_limit(s, FAL_LIMIT_EQUAL, 0);
    s->check.against = FAL_AGAINST_SELF;
}

static void make_no_faults(fal_scene *s)
{
    shape(s, "Q4_K", 3, 512, 9);
    fal_scene_then(s, "faults", 0);
    fal_scene_op(s, "faults_named", "matmul", "exact");
    fal_scene_limit(s, FAL_LIMIT_EQUAL, 0);
    s->check.against = FAL_AGAINST_SELF;
}

/* A kernel that does not read the bits: the second output is the first one's. */
static void blind(fal_scene *s)
{
    fal_draft_tensor *a = fal_draft_find(s->got, "r0.out.y"), *b = fal_draft_find(s->got, "r1.out.y");
    memcpy(b->data, a->data, a->nbytes);
}

/* The first output that is the same for both requests becomes another: it blames weights that are right. row: of x */
static void blame(fal_scene *s, size_t token)
{
    const float *const a = fal_draft_f32(s->got, "r0.out.y");
    float *const b = fal_draft_f32(s->got, "r1.out.y");
    for (size_t i = 9 * token; i < 9 * token + 9; i++)
        if (a[i] == b[i]) {
            b[i] += 1;
            return;
        }
    ck_abort_msg("every output differs");
}

static void blame_in_probe(fal_scene *s)
{
    blame(s, 2);
}

/* In a row that no fault is in, through all columns: no block, but no innocence either. */
static void blame_in_dense(fal_scene *s)
{
    const float *const a = fal_draft_f32(s->got, "r0.out.y");
    float *const b = fal_draft_f32(s->got, "r1.out.y");
    for (size_t row = 0; row < 9; row++) {
        if (a[row] != b[row]) continue;
        b[row] += 1;
        return;
    }
    ck_abort_msg("every output differs");
}

/* The difference of one probe goes to the other one: found, but the wrong block is named. */
static void wrong_block(fal_scene *s)
{
    float *const a = fal_draft_f32(s->got, "r0.out.y"), *const b = fal_draft_f32(s->got, "r1.out.y");
    for (size_t row = 0; row < 9; row++) {
        if (a[9 + row] == b[9 + row]) continue;
        b[18 + row] += b[9 + row] - a[9 + row];
        b[9 + row] = a[9 + row];
        return;
    }
    ck_abort_msg("no fault in the first block");
}

static void nan_beside(fal_scene *s)
{
    const float *const a = fal_draft_f32(s->got, "r0.out.y");
    float *const b = fal_draft_f32(s->got, "r1.out.y");
    for (size_t row = 0; row < 9; row++)
        if (a[9 + row] == b[9 + row]) b[9 + row] = NAN;
}

static void type_is_missing(fal_scene *s)
{
    json_object_del(json_object_get(json_array_get(json_object_get(s->got->about, "requests"), 0), "params"), "type");
}

/* ---- exact, with names ------------------------------------------------------------------------------------------- */

static void make_exact_matmul(fal_scene *s)
{
    shape(s, "Q4_K", 3, 512, 9);
    fal_scene_op(s, "exact", "matmul", "exact");
    fal_scene_limit(s, FAL_LIMIT_EQUAL, 0);
    s->check.against = FAL_AGAINST_REFERENCE;
    s->want = fal_draft_copy(s->got);
}

static void one_block(fal_scene *s)
{
    fal_draft_f32(s->got, "r1.out.y")[7] += 1;          /* all columns */
    fal_draft_f32(s->got, "r1.out.y")[2 * 9 + 7] += 1; /* block 1 */
}

static void no_block(fal_scene *s)
{
    fal_draft_f32(s->got, "r1.out.y")[7] += 1;
    fal_draft_f32(s->got, "r1.out.y")[4] += 1;
}

static void many_blocks(fal_scene *s)
{
    for (int i = 9; i < 27; i++) fal_draft_f32(s->got, "r0.out.y")[i] += 1;
}

#define S FAL_SURVIVED
#define F FAL_FALSIFIED
#define E FAL_ERROR

const fal_trial fal_trials_exact[] = {
    { "faults_named", "planted faults show where they are", make_faults, NULL, S, "of 6 planted faults 0 were missed" },
    { "faults_named", "the same for experts", make_expert_faults, NULL, S, "of 10 planted faults 0 were missed" },
    { "faults_named", "bits that are not read", make_faults, blind, F, "that no output shows" },
    { "faults_named", "bits of experts that are not read", make_expert_faults, blind, F, "expert" },
    { "faults_named", "a right block is blamed", make_faults, blame_in_probe, F, "is named, but its weights are right" },
    { "faults_named", "a right row is blamed", make_faults, blame_in_dense, F, "differs, though its weights are right" },
    { "faults_named", "another block of the row is blamed", make_faults, wrong_block, F, "is named, but its weights are right" },
    { "faults_named", "outputs that turn to NaN", make_faults, nan_beside, F, "is named, but its weights are right" },
    { "faults_named", "nothing was planted", make_no_faults, NULL, F, "no weight differs" },
    { "faults_named", "weights of an unknown type", make_faults, type_is_missing, E, "compared row by row" },
    { "exact", "agreement on an exact fill", make_exact_matmul, NULL, S, NULL },
    { "exact", "one wrong block is named", make_exact_matmul, one_block, F, "they blame the weights of row 7 block 1 (columns 256 to 511)" },
    { "exact", "a difference that no probe shows", make_exact_matmul, no_block, F, "2 weight rows, in no single block" },
    { "exact", "many wrong blocks are counted", make_exact_matmul, many_blocks, F, "of 17 more blocks in 9 rows" },
};
const int fal_n_trials_exact = (int)(sizeof fal_trials_exact / sizeof fal_trials_exact[0]);
