/* The table of GGUF tensor types. */
#include "harness/type.h"

#include <strings.h>

#define T(id, nm, elems, bytes, comp) [id] = { nm, elems, bytes, comp }
/* Numbers left out (4, 5, 31-33, 36-38) were removed from the format; a file that uses one is refused. */
static const fal_type_info table[] = {
    T(0, "F32", 1, 4, true),         T(1, "F16", 1, 2, true),         T(2, "Q4_0", 32, 18, false),
    T(3, "Q4_1", 32, 20, false),     T(6, "Q5_0", 32, 22, false),     T(7, "Q5_1", 32, 24, false),
    T(8, "Q8_0", 32, 34, true),      T(9, "Q8_1", 32, 36, false),     T(10, "Q2_K", 256, 84, false),
    T(11, "Q3_K", 256, 110, false),  T(12, "Q4_K", 256, 144, true),   T(13, "Q5_K", 256, 176, true),
    T(14, "Q6_K", 256, 210, true),   T(15, "Q8_K", 256, 292, false),  T(16, "IQ2_XXS", 256, 66, false),
    T(17, "IQ2_XS", 256, 74, false), T(18, "IQ3_XXS", 256, 98, false), T(19, "IQ1_S", 256, 50, false),
    T(20, "IQ4_NL", 32, 18, false),  T(21, "IQ3_S", 256, 110, false), T(22, "IQ2_S", 256, 82, false),
    T(23, "IQ4_XS", 256, 136, false), T(24, "I8", 1, 1, false),       T(25, "I16", 1, 2, false),
    T(26, "I32", 1, 4, false),       T(27, "I64", 1, 8, false),       T(28, "F64", 1, 8, false),
    T(29, "IQ1_M", 256, 56, false),  T(30, "BF16", 1, 2, true),      T(34, "TQ1_0", 256, 54, false),
    T(35, "TQ2_0", 256, 66, false),  T(39, "MXFP4", 32, 17, false),
};
#undef T
static const fal_type_info unknown = { 0 };

const fal_type_info *fal_type_get(uint32_t type)
{
    if (type >= sizeof table / sizeof table[0]) return &unknown;
    return &table[type];
}

int fal_type_by_name(const char *name)
{
    for (uint32_t i = 0; i < sizeof table / sizeof table[0]; i++)
        if (table[i].name && strcasecmp(table[i].name, name) == 0) return (int)i;
    return -1;
}

size_t fal_type_row_bytes(uint32_t type, size_t n)
{
    const fal_type_info *t = fal_type_get(type);
    if (!t->name || n % t->block_elems != 0) return 0;
    return n / t->block_elems * t->block_bytes;
}
