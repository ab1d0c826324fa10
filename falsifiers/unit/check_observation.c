/* Tests of observation files: what is written is read back, and no hostile file gets in, crashes or hangs. */
#include "harness/observation.h"
#include "harness/rng.h"

#include <check.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

Suite *fal_suite_observation(void);

static char folder[64], path[96];

static void setup(void)
{
    snprintf(folder, sizeof folder, "/tmp/falsify-check-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/o.safetensors", folder);
}

static void teardown(void)
{
    unlink(path);
    rmdir(folder);
}

static void put_file(const void *bytes, size_t n)
{
    FILE *f = fopen(path, "wb");
    ck_assert_ptr_nonnull(f);
    ck_assert_uint_eq(fwrite(bytes, 1, n, f), n);
    ck_assert_int_eq(fclose(f), 0);
}

/* A file of this header and n_data zero bytes. */
static void put_header(const char *header, size_t n_data)
{
    const size_t n = strlen(header);
    unsigned char *bytes = calloc(1, 8 + n + n_data + 1);
    for (int i = 0; i < 8; i++) bytes[i] = (unsigned char)((uint64_t)n >> (8 * i));
    memcpy(bytes + 8, header, n);
    put_file(bytes, 8 + n + n_data);
    free(bytes);
}

static void expect_refused(const char *must_say)
{
    fal_error err = { 0 };
    fal_observation *o = NULL;
    ck_assert_int_eq(fal_observation_open(path, &o, &err), FAL_ERR_INPUT);
    ck_assert_ptr_null(o);
    ck_assert_msg(strstr(err.message, must_say), "expected '%s' in: %s", must_say, err.message);
    ck_assert_msg(strstr(err.message, path), "the file is not named in: %s", err.message);
}

static json_t *about_of(const char *text)
{
    json_t *j = json_loads(text, 0, NULL);
    ck_assert_ptr_nonnull(j);
    return j;
}

START_TEST(round_trip) /* rule: what the observer put is what the judge sees, in any order, in pieces */
{
    fal_observation_writer *w = NULL;
    fal_error err = { 0 };
    const float f[6] = { 1, 2, 3, 4, 5, 6 };
    const int32_t ids[3] = { 7, -8, 9 };
    const int64_t big = INT64_C(1) << 40;
    ck_assert_int_eq(fal_observation_writer_make(path, &w, &err), FAL_OK);
    ck_assert_int_eq(fal_observation_declare(w, "r0.bytes", FAL_DTYPE_U8, 1, (const int64_t[]){ 5 }, &err), FAL_OK);
    ck_assert_int_eq(fal_observation_declare(w, "r0.f", FAL_DTYPE_F32, 2, (const int64_t[]){ 2, 3 }, &err), FAL_OK);
    ck_assert_int_eq(fal_observation_declare(w, "r1.ids", FAL_DTYPE_I32, 1, (const int64_t[]){ 3 }, &err), FAL_OK);
    ck_assert_int_eq(fal_observation_declare(w, "r1.big", FAL_DTYPE_I64, 0, NULL, &err), FAL_OK);
    ck_assert_int_eq(fal_observation_declare(w, "r1.none", FAL_DTYPE_F32, 2, (const int64_t[]){ 0, 4 }, &err), FAL_OK);
    ck_assert_int_eq(fal_observation_put(w, "r0.f", 12, f + 3, 12, &err), FAL_OK);
    ck_assert_int_eq(fal_observation_put(w, "r0.f", 0, f, 12, &err), FAL_OK);
    ck_assert_int_eq(fal_observation_put(w, "r1.ids", 0, ids, 12, &err), FAL_OK);
    ck_assert_int_eq(fal_observation_put(w, "r1.big", 0, &big, 8, &err), FAL_OK);
    ck_assert_int_eq(fal_observation_put(w, "r0.bytes", 1, "ab", 2, &err), FAL_OK);
    size_t missing = 0;
    ck_assert_str_eq(fal_observation_unput(w, &missing), "r0.bytes");
    ck_assert_uint_eq(missing, 3);
    json_t *about = about_of("{\"falsify\": \"x\", \"requests\": [{}, {}]}");
    ck_assert_int_eq(fal_observation_finish(w, about, &err), FAL_OK);
    json_decref(about);
    fal_observation_writer_free(w);

    fal_observation *o = NULL;
    ck_assert_msg(fal_observation_open(path, &o, &err) == FAL_OK, "%s", err.message);
    ck_assert_int_eq(o->n_tensors, 5);
    ck_assert_int_eq(o->n_requests, 2);
    const fal_obs_tensor *t = fal_observation_find(o, 0, "f");
    ck_assert_ptr_nonnull(t);
    ck_assert_int_eq(t->n_dims, 2);
    ck_assert_int_eq(t->ne[0], 2);
    ck_assert_int_eq(t->ne[1], 3);
    ck_assert_mem_eq(t->data, f, sizeof f);
    ck_assert_mem_eq(fal_observation_find(o, 1, "ids")->data, ids, sizeof ids);
    ck_assert_mem_eq(fal_observation_find(o, 1, "big")->data, &big, 8);
    ck_assert_uint_eq(fal_observation_find(o, 1, "none")->n, 0);
    /* never put: 0xFF, which is NaN as f32 and can pass nowhere */
    ck_assert_mem_eq(fal_observation_find(o, 0, "bytes")->data,
                     "\xff"
                     "ab\xff\xff",
                     5);
    ck_assert_ptr_null(fal_observation_find(o, 0, "ids"));
    ck_assert_ptr_null(fal_observation_find(o, 2, "f"));
    ck_assert_ptr_null(fal_observation_find(o, -1, "f"));
    ck_assert_str_eq(json_string_value(json_object_get(o->about, "falsify")), "x");
    fal_observation_close(o);
}
END_TEST

START_TEST(about_of_any_size) /* rule: a header that outgrows its reserved space moves the data and loses none */
{
    fal_error err = { 0 };
    for (size_t size = 1000; size < 6000000; size = size * 7 + 13) {
        fal_observation_writer *w = NULL;
        const size_t n = 700001; /* floats: more than one piece of a move, no multiple of it */
        float *f = malloc(n * sizeof *f);
        for (size_t i = 0; i < n; i++) f[i] = (float)i;
        ck_assert_int_eq(fal_observation_writer_make(path, &w, &err), FAL_OK);
        ck_assert_int_eq(fal_observation_declare(w, "r0.f", FAL_DTYPE_F32, 1, (const int64_t[]){ (int64_t)n }, &err),
                         FAL_OK);
        ck_assert_int_eq(fal_observation_put(w, "r0.f", 0, f, n * sizeof *f, &err), FAL_OK);
        char *text = malloc(size + 1);
        memset(text, '"', size); /* doubles when escaped, and again */
        text[size] = '\0';
        json_t *about = json_pack("{s:s}", "falsify", text);
        ck_assert_int_eq(fal_observation_finish(w, about, &err), FAL_OK);
        fal_observation_writer_free(w);
        fal_observation *o = NULL;
        ck_assert_msg(fal_observation_open(path, &o, &err) == FAL_OK, "%s", err.message);
        ck_assert_mem_eq(fal_observation_find(o, 0, "f")->data, f, n * sizeof *f);
        ck_assert(json_equal(o->about, about));
        fal_observation_close(o);
        json_decref(about);
        free(text);
        free(f);
    }
}
END_TEST

START_TEST(pieces_in_any_order) /* rule: coverage is exact for overlapping, touching and shuffled pieces */
{
    enum { N = 257 };
    unsigned char want[N], piece[N];
    const fal_rng r = fal_rng_make(5, "pieces");
    for (uint64_t round = 0; round < 60; round++) {
        fal_error err = { 0 };
        fal_observation_writer *w = NULL;
        memset(want, 0xff, N);
        ck_assert_int_eq(fal_observation_writer_make(path, &w, &err), FAL_OK);
        ck_assert_int_eq(fal_observation_declare(w, "x", FAL_DTYPE_U8, 1, (const int64_t[]){ N }, &err), FAL_OK);
        bool put[N] = { false };
        for (uint64_t k = 0; k < round; k++) {
            const size_t at = fal_rng_below(&r, round * 1000 + 2 * k, N),
                         n = fal_rng_below(&r, round * 1000 + 2 * k + 1, N - at + 1) % 20;
            memset(piece, (int)k + 1, N);
            memset(want + at, (int)k + 1, n);
            for (size_t i = 0; i < n; i++) put[at + i] = true;
            ck_assert_int_eq(fal_observation_put(w, "x", at, piece, n, &err), FAL_OK);
        }
        size_t missing = 0, expected = 0;
        for (int i = 0; i < N; i++) expected += !put[i];
        const char *name = fal_observation_unput(w, &missing);
        ck_assert_uint_eq(missing, expected);
        ck_assert_int_eq(name != NULL, expected > 0);
        json_t *about = json_object();
        ck_assert_int_eq(fal_observation_finish(w, about, &err), FAL_OK);
        json_decref(about);
        fal_observation_writer_free(w);
        fal_observation *o = NULL;
        ck_assert_int_eq(fal_observation_open(path, &o, &err), FAL_OK);
        ck_assert_mem_eq(fal_observation_find(o, 0, "x")->data, want, N);
        fal_observation_close(o);
    }
}
END_TEST

START_TEST(nothing_is_left) /* rule: an unfinished observation leaves neither file nor temp file, nor an older one */
{
    fal_error err = { 0 };
    fal_observation_writer *w = NULL;
    put_file("an older observation", 20);
    ck_assert_int_eq(fal_observation_writer_make(path, &w, &err), FAL_OK);
    ck_assert_int_eq(access(path, F_OK), -1);
    ck_assert_int_eq(fal_observation_declare(w, "x", FAL_DTYPE_U8, 1, (const int64_t[]){ 4 }, &err), FAL_OK);
    ck_assert_int_eq(fal_observation_put(w, "x", 0, "abcd", 4, &err), FAL_OK);
    fal_observation_writer_free(w);
    ck_assert_int_eq(access(path, F_OK), -1);
    ck_assert_int_eq(rmdir(folder), 0); /* only an empty folder can be removed */
    ck_assert_int_eq(mkdir(folder, 0700), 0);
}
END_TEST

START_TEST(misuse_is_refused) /* rule: the writer takes no byte that has no place */
{
    fal_error err = { 0 };
    fal_observation_writer *w = NULL;
    char no_folder[128];
    snprintf(no_folder, sizeof no_folder, "%s/none/o", folder);
    ck_assert_int_eq(fal_observation_writer_make(no_folder, &w, &err), FAL_ERR_OUTPUT);
    ck_assert_int_eq(fal_observation_writer_make(folder, &w, NULL), FAL_ERR_OUTPUT); /* a folder is no file */
    ck_assert_int_eq(fal_observation_writer_make(path, &w, NULL), FAL_OK);
    const int64_t four[] = { 4 }, minus[] = { -1 }, huge[] = { INT64_MAX, 4 };
    ck_assert_int_eq(fal_observation_declare(w, "x", FAL_DTYPE_U8, 1, four, NULL), FAL_OK);
    ck_assert_int_eq(fal_observation_declare(w, "x", FAL_DTYPE_U8, 1, four, NULL), FAL_ERR_INTERNAL);
    ck_assert_int_eq(fal_observation_declare(w, "", FAL_DTYPE_U8, 1, four, NULL), FAL_ERR_INTERNAL);
    ck_assert_int_eq(fal_observation_declare(w, "__metadata__", FAL_DTYPE_U8, 1, four, NULL), FAL_ERR_INTERNAL);
    ck_assert_int_ne(fal_observation_declare(w, "m", FAL_DTYPE_U8, 1, minus, NULL), FAL_OK);
    ck_assert_int_ne(fal_observation_declare(w, "h", FAL_DTYPE_F32, 2, huge, NULL), FAL_OK);
    ck_assert_int_eq(fal_observation_put(w, "y", 0, "a", 1, NULL), FAL_ERR_INTERNAL);
    ck_assert_int_eq(fal_observation_put(w, "x", 4, "a", 1, NULL), FAL_ERR_INTERNAL);
    ck_assert_int_eq(fal_observation_put(w, "x", 1, "abcd", 4, NULL), FAL_ERR_INTERNAL);
    ck_assert_int_eq(fal_observation_put(w, "x", SIZE_MAX, "a", 1, NULL), FAL_ERR_INTERNAL);
    ck_assert_int_eq(fal_observation_declare(w, "late", FAL_DTYPE_U8, 1, four, NULL), FAL_ERR_INTERNAL);
    fal_observation_writer_free(w);
}
END_TEST

static const struct {
    const char *header;
    size_t n_data;
    const char *must_say;
} hostile[] = {
    { "[]", 0, "'{'" },
    { "{", 0, "header" },
    { "{} x", 0, "header" },
    { "{}{}", 0, "header" },
    { "{\"a\": NaN}", 0, "not JSON" },
    { "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,NaN]}}", 4, "not JSON" },
    { "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,1e1]}}", 4, "data_offsets" },
    { "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_"
      "offsets\":[4,8]}}",
      8, "duplicate" },
    { "{\"a\":1}", 0, "not an object" },
    { "{\"\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[0,1]}}", 1, "empty" },
    { "{\"a\":{}}", 0, "dtype" },
    { "{\"a\":{\"dtype\":3,\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "dtype" },
    { "{\"a\":{\"dtype\":\"F16\",\"shape\":[2],\"data_offsets\":[0,4]}}", 4, "'F16'" },
    { "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4],\"more\":1}}", 4, "unknown field 'more'" },
    { "{\"a\":{\"dtype\":\"F32\",\"shape\":1,\"data_offsets\":[0,4]}}", 4, "shape" },
    { "{\"a\":{\"dtype\":\"F32\",\"shape\":[1.0],\"data_offsets\":[0,4]}}", 4, "shape" },
    { "{\"a\":{\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,4]}}", 4, "expected >= 0" },
    { "{\"a\":{\"dtype\":\"U8\",\"shape\":[1,1,1,1,1,1,1,1,1],\"data_offsets\":[0,1]}}", 1, "at most 8" },
    { "{\"a\":{\"dtype\":\"U8\",\"shape\":[4294967296,4294967296,2],\"data_offsets\":[0,0]}}", 0, "overflows" },
    { "{\"a\":{\"dtype\":\"F32\",\"shape\":[4611686018427387905],\"data_offsets\":[0,4]}}", 4, "overflows" },
    { "{\"a\":{\"dtype\":\"F32\",\"shape\":[99999999999999999999],\"data_offsets\":[0,4]}}", 4, "header" },
    { "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[-4,0]}}", 4, "data_offsets" },
    { "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,0]}}", 4, "data_offsets" },
    { "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0]}}", 4, "data_offsets" },
    { "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,8]}}", 4, "beyond" },
    { "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,9223372036854775807]}}", 4, "beyond" },
    { "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]}}", 4, "dtype and shape" },
    { "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_"
      "offsets\":[2,6]}}",
      6, "overlaps" },
    { "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_"
      "offsets\":[0,4]}}",
      4, "overlaps" },
    { "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_"
      "offsets\":[8,12]}}",
      12, "gap" },
    { "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}", 8, "gap" },
    { "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 5, "after the last tensor" },
    { "{}", 1, "after the last tensor" },
    { "{\"__metadata__\":1}", 0, "__metadata__" },
    { "{\"__metadata__\":{\"about\":{}}}", 0, "not a text" },
    { "{\"__metadata__\":{\"about\":\"{\"}}", 0, "about" },
    { "{\"__metadata__\":{\"about\":\"[]\"}}", 0, "not a JSON object" },
    { "{\"__metadata__\":{\"about\":\"{} {}\"}}", 0, "about" },
    { "{\"__metadata__\":{\"about\":\"{\\\"a\\\":1,\\\"a\\\":2}\"}}", 0, "duplicate" },
    { "{\"__metadata__\":{\"about\":\"{\\\"a\\\":NaN}\"}}", 0, "about" },
    { "{\"__metadata__\":{\"about\":\"{\\\"requests\\\":7}\"}}", 0, "requests" },
    { "{\"__metadata__\":{\"about\":\"{\\\"requests\\\":[{}]}\"},\"r1.x\":{\"dtype\":\"U8\",\"shape\":[1],\"data_"
      "offsets\":[0,1]}}",
      1, "r1.x" },
};

START_TEST(hostile_header) /* rule: every broken header is refused with its file and field */
{
    put_header(hostile[_i].header, hostile[_i].n_data);
    expect_refused(hostile[_i].must_say);
}
END_TEST

START_TEST(hostile_length) /* rule: the header length is bounded by the file and by the format */
{
    const unsigned char lengths[][8] = { { 0 },
                                         { 1 },
                                         { 255, 255, 255, 255, 255, 255, 255, 255 },
                                         { 0, 0, 0, 0, 0, 0, 0, 128 },
                                         { 9 },
                                         { 0, 225, 245, 5, 1 } };
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        unsigned char bytes[16];
        memcpy(bytes, lengths[i], 8);
        memcpy(bytes + 8, "{}      ", 8);
        put_file(bytes, sizeof bytes);
        expect_refused("header length");
    }
    for (size_t n = 0; n < 8; n++) {
        put_file("\2\0\0\0\0\0\0", n);
        expect_refused("header length");
    }
    unlink(path);
    expect_refused("cannot be opened");
    ck_assert_int_eq(mkdir(path, 0700), 0);
    expect_refused("not a regular file");
    rmdir(path);
    ck_assert_int_eq(mkfifo(path, 0600), 0); /* must not wait for a writer */
    expect_refused("not a regular file");
}
END_TEST

START_TEST(cut_and_flipped) /* rule: no truncation is accepted, and no flipped byte of the header crashes */
{
    const char header[] =
        "{\"__metadata__\":{\"about\":\"{\\\"requests\\\":[{}]}\"},\"r0.a\":{\"dtype\":\"F32\",\"shape\":[2,2],"
        "\"data_offsets\":[0,16]},\"r0.b\":{\"dtype\":\"I64\",\"shape\":[2],\"data_offsets\":[16,32]}}";
    put_header(header, 32);
    unsigned char whole[1024];
    FILE *f = fopen(path, "rb");
    const size_t n = fread(whole, 1, sizeof whole, f);
    fclose(f);
    fal_observation *o = NULL;
    ck_assert_int_eq(fal_observation_open(path, &o, NULL), FAL_OK);
    fal_observation_close(o);
    for (size_t cut = 0; cut < n; cut++) {
        put_file(whole, cut);
        ck_assert_int_eq(fal_observation_open(path, &o, NULL), FAL_ERR_INPUT);
    }
    const fal_rng r = fal_rng_make(1, "flips");
    for (uint64_t i = 0; i < 4000; i++) {
        unsigned char bytes[1024];
        memcpy(bytes, whole, n);
        for (uint64_t k = 0; k <= i % 3; k++)
            bytes[fal_rng_below(&r, 8 * i + k, n - 32)] ^= (unsigned char)(1 + fal_rng_below(&r, 8 * i + k + 4, 255));
        put_file(bytes, n);
        o = NULL;
        if (fal_observation_open(path, &o, NULL) != FAL_OK) continue;
        volatile unsigned char sum = 0; /* what was accepted can be read */
        for (int t = 0; t < o->n_tensors; t++)
            for (size_t b = 0; b < o->tensors[t].nbytes; b++)
                sum = (unsigned char)(sum + ((const unsigned char *)o->tensors[t].data)[b]);
        fal_observation_close(o);
    }
}
END_TEST

START_TEST(misaligned_data) /* rule: f32 after odd bytes in a foreign file is read right, at an aligned address */
{
    put_header("{\"u\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[0,3]},\"f\":{\"dtype\":\"F32\",\"shape\":[2],"
               "\"data_offsets\":[3,11]}}",
               11);
    const int fd = open(path, O_RDWR);
    const float f[2] = { 1.5f, -2 };
    struct stat sb;
    fstat(fd, &sb);
    ck_assert_int_eq(pwrite(fd, f, 8, sb.st_size - 8), 8);
    close(fd);
    fal_observation *o = NULL;
    ck_assert_int_eq(fal_observation_open(path, &o, NULL), FAL_OK);
    const fal_obs_tensor *t = fal_observation_find(o, 0, "f");
    ck_assert_uint_eq((uintptr_t)t->data % 4, 0);
    ck_assert_mem_eq(t->data, f, 8);
    fal_observation_close(o);
}
END_TEST

START_TEST(oracle_file) /* rule: the shipped oracle reads; names without prefix are request 0 */
{
    fal_observation *o = NULL;
    fal_error err = { 0 };
    ck_assert_msg(fal_observation_open("falsifiers/models/austen-moe-Q4_K_M.oracle.safetensors", &o, &err) == FAL_OK,
                  "%s", err.message);
    ck_assert_int_eq(o->n_requests, 1);
    const fal_obs_tensor *t = fal_observation_find(o, 0, "p0.logits");
    ck_assert_ptr_nonnull(t);
    ck_assert_int_eq(t->ne[0], 18);
    ck_assert_int_eq(t->ne[1], 2048);
    ck_assert(json_is_array(json_object_get(o->about, "prompts")));
    fal_observation_close(o);
    put_header("{}", 0);
    ck_assert_int_eq(fal_observation_open(path, &o, NULL), FAL_OK);
    ck_assert_int_eq(o->n_tensors, 0);
    ck_assert(json_is_object(o->about));
    ck_assert_ptr_null(fal_observation_find(o, 0, "x"));
    fal_observation_close(o);
}
END_TEST

Suite *fal_suite_observation(void)
{
    Suite *s = suite_create("observation");
    TCase *t = tcase_create("files");
    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, round_trip);
    tcase_add_test(t, about_of_any_size);
    tcase_add_test(t, pieces_in_any_order);
    tcase_add_test(t, nothing_is_left);
    tcase_add_test(t, misuse_is_refused);
    tcase_add_loop_test(t, hostile_header, 0, (int)(sizeof hostile / sizeof hostile[0]));
    tcase_add_test(t, hostile_length);
    tcase_add_test(t, cut_and_flipped);
    tcase_add_test(t, misaligned_data);
    tcase_add_test(t, oracle_file);
    suite_add_tcase(s, t);
    return s;
}
