/* Tests of the GGUF reader: what it accepts, what it refuses and how, and that no bytes make it crash. */
#include "falsifiers/unit/gguf_cases.h"

#include <check.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

Suite *fal_suite_gguf(void);

/* Opens a copy that ends where the file ends, so that a sanitizer sees every byte read beyond. */
static fal_status open_exact(const unsigned char *data, size_t n, unsigned char **copy, fal_gguf **out, fal_error *err)
{
    *copy = malloc(n ? n : 1);
    ck_assert_ptr_nonnull(*copy);
    if (n > 0) memcpy(*copy, data, n);
    return fal_gguf_open_memory(*copy, n, "mem.gguf", out, err);
}

/* A file of about 300 bytes with most of the format in it, ending with its last tensor. */
static void good_file(fal_bytes *b)
{
    fal_bytes_gguf_header(b, 3, 2, 4);
    fal_bytes_gguf_key(b, "general.architecture", FAL_GGUF_STRING);
    fal_bytes_text(b, "qwen3moe", 8);
    fal_bytes_gguf_key(b, "a.flags", FAL_GGUF_ARRAY);
    fal_bytes_u32(b, FAL_GGUF_BOOL);
    fal_bytes_u64(b, 2);
    fal_bytes_u16(b, 0x0100);
    fal_bytes_gguf_key(b, "a.words", FAL_GGUF_ARRAY);
    fal_bytes_u32(b, FAL_GGUF_STRING);
    fal_bytes_u64(b, 2);
    fal_bytes_text(b, "\xC3\xA4", 2);
    fal_bytes_text(b, "", 0);
    fal_bytes_gguf_key(b, "x", FAL_GGUF_F32);
    fal_bytes_f32(b, 1.5f);
    fal_bytes_gguf_tensor(b, "a", 2, (const uint64_t[]){ 2, 3 }, FAL_TYPE_F32, 0);
    fal_bytes_gguf_tensor(b, "bc", 1, (const uint64_t[]){ 4 }, FAL_TYPE_F16, 32);
    fal_bytes_pad(b, 32);
    fal_bytes_fill(b, 1, 24);
    fal_bytes_pad(b, 32);
    fal_bytes_fill(b, 2, 8);
}

/* What a reader promises of every file that it accepts. */
static void check_promises(const fal_gguf *g)
{
    uint64_t end = g->data_offset;
    ck_assert_uint_le(g->data_offset, g->size);
    ck_assert_uint_ne(g->alignment, 0);
    for (uint64_t i = 0; i < g->n_tensors; i++) {
        const fal_tensor *t = &g->tensors[i];
        ck_assert_uint_ge(t->offset, end); /* in order, without overlap */
        ck_assert_uint_eq(t->offset % g->alignment, g->data_offset % g->alignment);
        ck_assert_uint_le(t->nbytes, g->size - t->offset);
        ck_assert_ptr_eq(t->data, g->base + t->offset);
        ck_assert_uint_ge(t->nbytes, 1);
        ck_assert_ptr_eq(fal_gguf_find_tensor(g, t->name), t);
        end = t->offset + t->nbytes;
    }
    for (uint64_t i = 0; i < g->n_kv; i++) ck_assert_ptr_eq(fal_gguf_find_kv(g, g->kv[i].key), &g->kv[i]);
}

/* Rule: every broken file is refused by field and place, every sound one is accepted. */
START_TEST(cases)
{
    const fal_gguf_case *k = &fal_gguf_cases[_i];
    fal_bytes b = { 0 };
    unsigned char *copy = NULL;
    fal_gguf *const untouched = (fal_gguf *)(void *)&b;
    fal_gguf *g = untouched;
    fal_error err = { 0 };
    k->build(&b);
    const fal_status status = open_exact(b.data, b.len, &copy, &g, &err);
    if (!k->field) {
        ck_assert_msg(status == FAL_OK, "%s must be accepted: %s", k->name, err.message);
        check_promises(g);
        fal_gguf_close(g);
    } else {
        char place[64];
        snprintf(place, sizeof place, "mem.gguf: offset 0x%" PRIx64 ": ", k->offset);
        ck_assert_msg(status == FAL_ERR_INPUT, "%s must be refused, is %s", k->name, fal_status_name(status));
        ck_assert_msg(strncmp(err.message, place, strlen(place)) == 0, "%s: '%s' does not start with '%s'", k->name,
                      err.message, place);
        ck_assert_msg(strstr(err.message, k->field) != NULL, "%s: '%s' does not name '%s'", k->name, err.message,
                      k->field);
        ck_assert_msg(strstr(err.message, "found ") && strstr(err.message, "expected "), "%s: '%s'", k->name,
                      err.message);
        ck_assert_msg(err.hint[0] != '\0', "%s: no hint", k->name);
        ck_assert_ptr_eq(g, untouched);
    }
    free(copy);
    fal_bytes_free(&b);
}
END_TEST

/* Rule: the table of cases holds all of the checklist: 96 files, 12 of them sound, 84 broken. */
START_TEST(cases_are_complete)
{
    int n_sound = 0;
    for (int i = 0; i < fal_n_gguf_cases; i++) {
        n_sound += fal_gguf_cases[i].field == NULL;
        for (int k = 0; k < i; k++) ck_assert_str_ne(fal_gguf_cases[i].name, fal_gguf_cases[k].name);
    }
    ck_assert_int_eq(fal_n_gguf_cases, 96);
    ck_assert_int_eq(n_sound, 12);
}
END_TEST

/* Rule: products wrap at no dimension: small rows let a later extent do the wrapping, here each to a small number. */
START_TEST(wrapping_shapes)
{
    static const struct {
        uint32_t type, n_dims;
        uint64_t ne[4];
    } shapes[] = {
        { FAL_TYPE_F32, 1, { 1ull << 62 } },
        { FAL_TYPE_F32, 1, { (1ull << 62) + 8 } },
        { FAL_TYPE_I8, 2, { 16, 1ull << 60 } },
        { FAL_TYPE_F32, 2, { 4, 1ull << 60 } },
        { FAL_TYPE_F32, 2, { 1, 1ull << 62 } },
        { FAL_TYPE_F32, 3, { 1, 1ull << 31, 1ull << 31 } },
        { FAL_TYPE_I8, 3, { 1, 1ull << 32, 1ull << 32 } },
        { FAL_TYPE_F32, 4, { 1, 1, 1, 1ull << 62 } },
        { FAL_TYPE_I8, 4, { 2, 2, 2, 1ull << 61 } },
        { FAL_TYPE_Q4_K, 2, { 256, 1ull << 60 } },
        { FAL_TYPE_F32, 2, { 1, (1ull << 62) + 1 } },
        { FAL_TYPE_F32, 2, { 1, UINT64_MAX } },
    };
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        fal_bytes b = { 0 };
        unsigned char *copy = NULL;
        fal_gguf *g = NULL;
        fal_error err = { 0 };
        fal_bytes_gguf_header(&b, 3, 1, 0);
        fal_bytes_gguf_tensor(&b, "t", shapes[i].n_dims, shapes[i].ne, shapes[i].type, 0);
        fal_bytes_pad(&b, 32);
        fal_bytes_fill(&b, 0, 256);
        const fal_status status = open_exact(b.data, b.len, &copy, &g, &err);
        ck_assert_msg(status == FAL_ERR_INPUT, "shape %zu is accepted", i);
        ck_assert_msg(strstr(err.message, "offset 0x25: tensor 't': dims: found ["), "shape %zu: %s", i, err.message);
        free(copy);
        fal_bytes_free(&b);
    }
}
END_TEST

static void build_good(int which, fal_bytes *b)
{
    fal_builder builder = { .alignment = 64 };
    switch (which) {
    case 0: good_file(b); return;
    case 1: /* tensors only, in blocks of a quantised type */
        fal_builder_add(&builder, "blk.0.attn_q.weight", FAL_TYPE_Q4_K, 256, 3, 0);
        fal_builder_add(&builder, "output_norm.weight", FAL_TYPE_F32, 5, 0, 0);
        fal_builder_add(&builder, "e", FAL_TYPE_Q8_0, 32, 2, 2);
        break;
    default: /* metadata only */
        builder.alignment = 0;
        fal_builder_set_text(&builder, "general.name", "a name");
        fal_builder_set_u32(&builder, "n", 3);
        break;
    }
    fal_builder_write(&builder, b);
    fal_builder_free(&builder);
}

/* Rule: a file cut off at any byte is refused. */
START_TEST(truncated)
{
    fal_bytes b = { 0 };
    build_good(_i, &b);
    for (size_t n = 0; n <= b.len; n++) {
        unsigned char *copy = NULL;
        fal_gguf *g = NULL;
        fal_error err = { 0 };
        const fal_status status = open_exact(b.data, n, &copy, &g, &err);
        ck_assert_msg(status == (n == b.len ? FAL_OK : FAL_ERR_INPUT), "%zu of %zu bytes: %s %s", n, b.len,
                      fal_status_name(status), err.message);
        ck_assert(n == b.len || strstr(err.message, "offset 0x"));
        fal_gguf_close(g);
        free(copy);
    }
    fal_bytes_free(&b);
}
END_TEST

/* Rule: no value of any one byte makes the reader crash, read outside, or break its promises. */
START_TEST(flipped)
{
    fal_bytes b = { 0 };
    good_file(&b);
    ck_assert_uint_ge(b.len, 280);
    FILE *sink = fopen("/dev/null", "w");
    ck_assert_ptr_nonnull(sink);
    size_t n_accepted = 0, n_refused = 0;
    for (size_t at = 0; at < b.len; at++) {
        for (unsigned flip = 1; flip < 256; flip++) {
            unsigned char *copy = NULL;
            fal_gguf *g = NULL;
            fal_error err = { 0 };
            b.data[at] = (unsigned char)(b.data[at] ^ flip);
            const fal_status status = open_exact(b.data, b.len, &copy, &g, &err);
            b.data[at] = (unsigned char)(b.data[at] ^ flip);
            if (status == FAL_OK) {
                n_accepted++;
                check_promises(g);
                if (flip == 0x80 || flip == 1) fal_gguf_print(g, sink);
            } else {
                n_refused++;
                ck_assert_int_eq(status, FAL_ERR_INPUT);
                ck_assert_ptr_null(g);
            }
            fal_gguf_close(g);
            free(copy);
        }
    }
    ck_assert_uint_gt(n_accepted, 0); /* letters of names, weights, numbers */
    ck_assert_uint_gt(n_refused, n_accepted / 4);
    fclose(sink);
    fal_bytes_free(&b);
}
END_TEST

/* Rule: every value type is read as it was written, at its limits too. */
START_TEST(values)
{
    fal_builder b = { 0 };
    fal_bytes file = { 0 };
    const int8_t i8 = -128;
    const uint16_t u16 = 65535;
    const int16_t i16 = -32768;
    const int32_t i32 = INT32_MIN;
    const uint64_t u64 = UINT64_MAX;
    const int64_t i64 = INT64_MIN;
    const double f64 = 0x1.fffffffffffffp+1023;
    const uint8_t u8 = 255, yes = 1;
    fal_builder_set(&b, "u8", FAL_GGUF_U8, &u8, 1);
    fal_builder_set(&b, "i8", FAL_GGUF_I8, &i8, 1);
    fal_builder_set(&b, "u16", FAL_GGUF_U16, &u16, 2);
    fal_builder_set(&b, "i16", FAL_GGUF_I16, &i16, 2);
    fal_builder_set_u32(&b, "u32", UINT32_MAX);
    fal_builder_set(&b, "i32", FAL_GGUF_I32, &i32, 4);
    fal_builder_set_f32(&b, "f32", -0x1p-149f);
    fal_builder_set(&b, "bool", FAL_GGUF_BOOL, &yes, 1);
    fal_builder_set_text(&b, "Text-Key_1.x", "w\xC3\xB6rter");
    fal_builder_set(&b, "u64", FAL_GGUF_U64, &u64, 8);
    fal_builder_set(&b, "i64", FAL_GGUF_I64, &i64, 8);
    fal_builder_set(&b, "f64", FAL_GGUF_F64, &f64, 8);
    fal_builder_write(&b, &file);

    fal_gguf *g = NULL;
    fal_error err = { 0 };
    ck_assert_msg(fal_gguf_open_memory(file.data, file.len, "mem.gguf", &g, &err) == FAL_OK, "%s", err.message);
    ck_assert_uint_eq(g->n_kv, 12);
    ck_assert_str_eq(g->kv[3].key, "i16"); /* file order */
    ck_assert_uint_eq(fal_gguf_find_kv(g, "u8")->v.u, 255);
    ck_assert_int_eq(fal_gguf_find_kv(g, "i8")->v.i, -128);
    ck_assert_uint_eq(fal_gguf_find_kv(g, "u16")->v.u, 65535);
    ck_assert_int_eq(fal_gguf_find_kv(g, "i16")->v.i, -32768);
    ck_assert_uint_eq(fal_gguf_find_kv(g, "u32")->v.u, UINT32_MAX);
    ck_assert_int_eq(fal_gguf_find_kv(g, "i32")->v.i, INT32_MIN);
    ck_assert(fal_gguf_find_kv(g, "f32")->v.f == -0x1p-149);
    ck_assert_uint_eq(fal_gguf_find_kv(g, "bool")->v.u, 1);
    ck_assert_uint_eq(fal_gguf_find_kv(g, "u64")->v.u, UINT64_MAX);
    ck_assert_int_eq(fal_gguf_find_kv(g, "i64")->v.i, INT64_MIN);
    ck_assert(fal_gguf_find_kv(g, "f64")->v.f == f64);
    const fal_gguf_kv *text = fal_gguf_find_kv(g, "Text-Key_1.x");
    ck_assert_uint_eq(text->v.str.len, 7);
    ck_assert_int_eq(memcmp(text->v.str.data, "w\xC3\xB6rter", 7), 0);
    ck_assert_ptr_null(fal_gguf_find_kv(g, "u"));
    ck_assert_ptr_null(fal_gguf_find_tensor(g, "u8"));
    fal_gguf_close(g);
    fal_bytes_free(&file);
    fal_builder_free(&b);
}
END_TEST

/* Rule: a getter takes the kind of type that it names and nothing outside its bounds. */
START_TEST(getters)
{
    fal_builder b = { 0 };
    fal_bytes file = { 0 };
    const int32_t minus = -1, seven = 7;
    const uint64_t wide = 1ull << 32;
    const double f64 = 0.5;
    fal_builder_set(&b, "minus", FAL_GGUF_I32, &minus, 4);
    fal_builder_set(&b, "seven", FAL_GGUF_I32, &seven, 4);
    fal_builder_set(&b, "wide", FAL_GGUF_U64, &wide, 8);
    fal_builder_set(&b, "f64", FAL_GGUF_F64, &f64, 8);
    fal_builder_set_text(&b, "text", "7");
    fal_builder_write(&b, &file);
    fal_gguf *g = NULL;
    ck_assert_int_eq(fal_gguf_open_memory(file.data, file.len, "mem.gguf", &g, NULL), FAL_OK);

    uint32_t u = 99;
    float f = 99;
    ck_assert_int_eq(fal_gguf_get_u32(g, "seven", 7, 7, &u, NULL), FAL_OK);
    ck_assert_uint_eq(u, 7);
    ck_assert_int_eq(fal_gguf_get_f32(g, "f64", &f, NULL), FAL_OK);
    ck_assert(f == 0.5f);

    const struct {
        const char *key;
        uint32_t min, max;
        const char *says;
    } bad[] = {
        { "minus", 0, 9, "found -1, expected 0 to 9" },
        { "seven", 8, 9, "found 7, expected 8 to 9" },
        { "seven", 0, 6, "found 7, expected 0 to 6" },
        { "wide", 0, UINT32_MAX, "found 4294967296, expected 0 to 4294967295" },
        { "f64", 0, 9, "found f64, expected an integer" },
        { "text", 0, 9, "found string, expected an integer" },
        { "none", 0, 9, "found nothing, expected an integer" },
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        fal_error err = { 0 };
        u = 99;
        ck_assert_int_eq(fal_gguf_get_u32(g, bad[i].key, bad[i].min, bad[i].max, &u, &err), FAL_ERR_INPUT);
        ck_assert_msg(strstr(err.message, bad[i].says) && strstr(err.message, bad[i].key) &&
                          strstr(err.message, "mem.gguf"),
                      "'%s' does not say '%s'", err.message, bad[i].says);
        ck_assert_uint_eq(u, 99);
    }
    ck_assert_int_eq(fal_gguf_get_f32(g, "seven", &f, NULL), FAL_ERR_INPUT);
    ck_assert_int_eq(fal_gguf_get_f32(g, "none", &f, NULL), FAL_ERR_INPUT);
    fal_gguf_close(g);
    fal_bytes_free(&file);
    fal_builder_free(&b);
}
END_TEST

/* Rule: opening costs about n log n, also with as many keys as an attacker likes, and finds the one duplicate. */
START_TEST(many_keys)
{
    enum { N = 100000 };
    fal_bytes b = { 0 };
    fal_bytes_gguf_header(&b, 3, 0, N);
    char key[32];
    for (int i = 0; i < N; i++) {
        snprintf(key, sizeof key, "k.%d", i == N - 1 ? 17 * _i : i);
        fal_bytes_gguf_key(&b, _i == 0 && i == N - 1 ? "k.last" : key, FAL_GGUF_U8);
        fal_bytes_u8(&b, 1);
    }
    fal_gguf *g = NULL;
    fal_error err = { 0 };
    const fal_status status = fal_gguf_open_memory(b.data, b.len, "mem.gguf", &g, &err);
    ck_assert_int_eq(status, _i == 0 ? FAL_OK : FAL_ERR_INPUT);
    ck_assert(_i == 0 || strstr(err.message, "key 'k.17'"));
    fal_gguf_close(g);
    fal_bytes_free(&b);
}
END_TEST

/* Rule: text from a file cannot steer a terminal, and messages stay one line however long path and key are. */
START_TEST(printed_safely)
{
    fal_builder b = { 0 };
    fal_bytes file = { 0 };
    char *text = NULL;
    size_t n = 0;
    fal_builder_set_text(&b, "general.name",
                         "a\x1B[31mred\nline \xE2\x80\xAE"
                         "back \xC2\x9B"
                         "c1");
    fal_builder_set_text(
        &b, "long",
        "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789x");
    fal_builder_add(&b, "\xE6\xBC\xA2.weight", FAL_TYPE_Q8_0, 32, 4, 2);
    fal_builder_write(&b, &file);
    fal_gguf *g = NULL;
    ck_assert_int_eq(fal_gguf_open_memory(file.data, file.len, "di\x1Br/mem.gguf", &g, NULL), FAL_OK);
    FILE *f = open_memstream(&text, &n);
    ck_assert_ptr_nonnull(f);
    fal_gguf_print(g, f);
    fclose(f);
    ck_assert_ptr_null(memchr(text, 0x1B, n));
    ck_assert_ptr_null(strstr(text, "\xE2\x80\xAE"));
    ck_assert_ptr_null(strstr(text, "\xC2\x9B"));
    ck_assert_ptr_nonnull(strstr(text, "\\x1b[31mred\\x0aline"));
    ck_assert_ptr_nonnull(strstr(text, "\"... (101 bytes)"));
    ck_assert_ptr_nonnull(strstr(text, "\xE6\xBC\xA2.weight  Q8_0"));
    ck_assert_ptr_nonnull(strstr(text, "[32, 4, 2]"));
    ck_assert_ptr_nonnull(strstr(text, "272 bytes"));
    free(text);
    fal_gguf_close(g);

    char path[3000];
    memset(path, '\n', sizeof path - 1);
    path[sizeof path - 1] = '\0';
    fal_error err = { 0 };
    file.data[0] = 'X';
    ck_assert_int_eq(fal_gguf_open_memory(file.data, file.len, path, &g, &err), FAL_ERR_INPUT);
    ck_assert_ptr_null(strchr(err.message, '\n'));
    ck_assert_ptr_nonnull(strstr(err.message, "expected 47 47 55 46"));
    fal_bytes_free(&file);
    fal_builder_free(&b);
}
END_TEST

/* Rule: what is no regular file, or an empty one, is refused at once; opening never waits. */
START_TEST(no_regular_file)
{
    char folder[] = "/tmp/falsify-gguf-XXXXXX", fifo[64], empty[64];
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(fifo, sizeof fifo, "%s/fifo", folder);
    snprintf(empty, sizeof empty, "%s/empty", folder);
    ck_assert_int_eq(mkfifo(fifo, 0600), 0);
    FILE *f = fopen(empty, "w");
    ck_assert_ptr_nonnull(f);
    fclose(f);
    const struct {
        const char *path, *says;
    } bad[] = {
        { fifo, "found no regular file" },          { folder, "found no regular file" },
        { "/dev/null", "found no regular file" },   { empty, "found 0 bytes, expected at least 24" },
        { "/nowhere/at/all.gguf", "No such file" },
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        fal_gguf *g = NULL;
        fal_error err = { 0 };
        ck_assert_int_eq(fal_gguf_open(bad[i].path, &g, &err), FAL_ERR_INPUT);
        ck_assert_msg(strstr(err.message, bad[i].path) && strstr(err.message, bad[i].says), "%s", err.message);
        ck_assert_ptr_null(g);
    }
    unlink(fifo);
    unlink(empty);
    rmdir(folder);
}
END_TEST

/* Rule: a version 2 file is read like version 3. */
START_TEST(version_2)
{
    fal_bytes b = { 0 };
    good_file(&b);
    b.data[4] = 2;
    fal_gguf *g = NULL;
    ck_assert_int_eq(fal_gguf_open_memory(b.data, b.len, "mem.gguf", &g, NULL), FAL_OK);
    ck_assert_uint_eq(g->version, 2);
    ck_assert_uint_eq(g->n_tensors, 2);
    ck_assert_uint_eq(g->tensors[0].ne[1], 3);
    fal_gguf_close(g);
    fal_bytes_free(&b);
}
END_TEST

Suite *fal_suite_gguf(void)
{
    Suite *s = suite_create("gguf");
    TCase *t = tcase_create("gguf");
    tcase_set_timeout(t, 60);
    tcase_add_loop_test(t, cases, 0, fal_n_gguf_cases);
    tcase_add_test(t, cases_are_complete);
    tcase_add_test(t, wrapping_shapes);
    tcase_add_loop_test(t, truncated, 0, 3);
    tcase_add_test(t, flipped);
    tcase_add_test(t, values);
    tcase_add_test(t, getters);
    tcase_add_loop_test(t, many_keys, 0, 2);
    tcase_add_test(t, printed_safely);
    tcase_add_test(t, no_regular_file);
    tcase_add_test(t, version_2);
    suite_add_tcase(s, t);
    return s;
}
