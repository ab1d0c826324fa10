/* The table of small GGUF files in gguf_cases.def, one building function each. */
#include "falsifiers/unit/gguf_cases.h"

#define HEADER(n_tensors, n_kv) fal_bytes_gguf_header(b, 3, n_tensors, n_kv);
#define KEY(key, type)          fal_bytes_gguf_key(b, key, type);
#define U8(v)                   fal_bytes_u8(b, v);
#define U16(v)                  fal_bytes_u16(b, v);
#define U32(v)                  fal_bytes_u32(b, v);
#define U64(v)                  fal_bytes_u64(b, v);
#define RAW(s)                  fal_bytes_add(b, s, sizeof(s) - 1);
#define TEXT(s)                 fal_bytes_text(b, s, sizeof(s) - 1);
#define FILL(byte, n)           fal_bytes_fill(b, byte, n);
#define PAD(n)                  fal_bytes_pad(b, n);
#define U32_PAIR(key, v)                                                                                               \
    fal_bytes_gguf_key(b, key, FAL_GGUF_U32);                                                                          \
    fal_bytes_u32(b, v);
#define TENSOR(name, type, offset, ...)                                                                                \
    fal_bytes_gguf_tensor(b, name, sizeof((const uint64_t[]){ __VA_ARGS__ }) / sizeof(uint64_t),                       \
                          (const uint64_t[]){ __VA_ARGS__ }, type, offset);

#define CASE(name, field, offset, ...)                                                                                 \
    static void build_##name(fal_bytes *b)                                                                             \
    {                                                                                                                  \
        (void)b;                                                                                                       \
        __VA_ARGS__                                                                                                    \
    }
#include "falsifiers/unit/gguf_cases.def"
#undef CASE

const fal_gguf_case fal_gguf_cases[] = {
#define CASE(name, field, offset, ...) { #name, field, offset, build_##name },
#include "falsifiers/unit/gguf_cases.def"
#undef CASE
};
const int fal_n_gguf_cases = sizeof fal_gguf_cases / sizeof fal_gguf_cases[0];
