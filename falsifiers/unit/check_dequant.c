/* Tests of the block decoders against values that the gguf package computed, bit for bit. */
#include "reference/reference.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

Suite *fal_suite_dequant(void);

/* The whole file; ends the test when it cannot be read. The caller frees it. */
static unsigned char *read_all(const char *path, size_t *n)
{
    FILE *f = fopen(path, "rb");
    ck_assert_msg(f != NULL, "cannot open %s", path);
    ck_assert_int_eq(fseek(f, 0, SEEK_END), 0);
    const long size = ftell(f);
    ck_assert_int_gt(size, 0);
    rewind(f);
    unsigned char *bytes = malloc((size_t)size);
    ck_assert_ptr_nonnull(bytes);
    ck_assert_uint_eq(fread(bytes, 1, (size_t)size, f), (size_t)size);
    fclose(f);
    *n = (size_t)size;
    return bytes;
}

static const struct {
    uint32_t type;
    const char *stem;
} vectors[] = {
    { FAL_TYPE_F16, "f16" },   { FAL_TYPE_BF16, "bf16" }, { FAL_TYPE_Q8_0, "q8_0" },
    { FAL_TYPE_Q4_K, "q4_k" }, { FAL_TYPE_Q5_K, "q5_k" }, { FAL_TYPE_Q6_K, "q6_k" },
};

/* Rule: a decoded weight has the bits that the file format defines, for every kind of block. */
START_TEST(blocks_decode_bit_for_bit)
{
    const fal_type_info *type = fal_type_get(vectors[_i].type);
    char path[128];
    size_t n_bytes, n_want_bytes;
    snprintf(path, sizeof path, "falsifiers/vectors/%s.blocks", vectors[_i].stem);
    unsigned char *blocks = read_all(path, &n_bytes);
    snprintf(path, sizeof path, "falsifiers/vectors/%s.f32", vectors[_i].stem);
    unsigned char *want = read_all(path, &n_want_bytes);

    const size_t n_blocks = n_bytes / type->block_bytes, n = n_blocks * type->block_elems;
    ck_assert_uint_eq(n_bytes % type->block_bytes, 0);
    ck_assert_uint_ge(n_blocks, 64);
    ck_assert_uint_eq(n_want_bytes, n * sizeof(float));
    float *got = malloc(n * sizeof *got);
    ck_assert_ptr_nonnull(got);
    memset(got, 0xFF, n * sizeof *got);
    const fal_dequant_fn dequant = fal_dequant_find(vectors[_i].type);
    ck_assert(dequant != NULL);
    dequant(blocks, n_blocks, got);
    for (size_t i = 0; i < n; i++) {
        float want_i;
        memcpy(&want_i, want + i * sizeof want_i, sizeof want_i);
        ck_assert_msg(memcmp(&got[i], &want_i, sizeof want_i) == 0, "%s block %zu element %zu: %a, expected %a",
                      type->name, i / type->block_elems, i % type->block_elems, (double)got[i], (double)want_i);
    }
    free(got);
    free(want);
    free(blocks);
}
END_TEST

/* Rule: rows of f32 weights may start at any byte of a file. */
START_TEST(f32_rows_may_be_unaligned)
{
    const float values[3] = { 1.0f, -0.0f, 0x1.8p-149f };
    unsigned char bytes[1 + sizeof values];
    float got[3];
    memcpy(bytes + 1, values, sizeof values);
    fal_dequant_find(FAL_TYPE_F32)(bytes + 1, 3, got);
    ck_assert_mem_eq(got, values, sizeof values);
}
END_TEST

/* Rule: the type table says "computed" of exactly the types that have a decoder. */
START_TEST(decoders_are_the_computed_types)
{
    for (uint32_t t = 0; t < 64; t++)
        ck_assert_msg((fal_dequant_find(t) != NULL) == fal_type_get(t)->computed, "type %u", t);
    ck_assert(fal_dequant_find(UINT32_MAX) == NULL);
}
END_TEST

Suite *fal_suite_dequant(void)
{
    Suite *s = suite_create("dequant");
    TCase *c = tcase_create("dequant");
    tcase_add_loop_test(c, blocks_decode_bit_for_bit, 0, (int)(sizeof vectors / sizeof vectors[0]));
    tcase_add_test(c, f32_rows_may_be_unaligned);
    tcase_add_test(c, decoders_are_the_computed_types);
    suite_add_tcase(s, c);
    return s;
}
