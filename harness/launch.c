/* Evaluates the launch line of a candidate: integer expressions by recursive descent, every overflow refused. */
#include "harness/launch.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

enum { MAX_DEPTH = 64 };

typedef struct {
    const char *text, *at;
    const fal_wire_call *call;
    fal_error *err;
    fal_status status;
    int depth;
} reader;

static int64_t bad(reader *r, const char *what)
{
    if (!r->status)
        r->status =
            fal_fail(r->err, FAL_ERR_INPUT, "for example: block=128 grid=cdiv(n_out,4)*n_tokens",
                     "falsify-launch: %s at character %d of '%.120s'", what, (int)(r->at - r->text) + 1, r->text);
    return 1;
}

static int64_t sum(reader *r);

static bool take(reader *r, char c)
{
    if (*r->at != c) return false;
    r->at++;
    return true;
}

static int64_t divide(reader *r, int64_t a, int64_t b, bool up)
{
    if (b == 0) return bad(r, "division by 0");
    if (a < 0 || b < 0) return bad(r, "division of a negative number");
    return a / b + (up && a % b != 0);
}

static int64_t function(reader *r, const char *name, size_t n)
{
    const int64_t a = sum(r);
    if (!take(r, ',')) return bad(r, "expected ','");
    const int64_t b = sum(r);
    if (!take(r, ')')) return bad(r, "expected ')'");
    if (n == 4 && memcmp(name, "cdiv", 4) == 0) return divide(r, a, b, true);
    if (n == 3 && memcmp(name, "min", 3) == 0) return a < b ? a : b;
    if (n == 3 && memcmp(name, "max", 3) == 0) return a > b ? a : b;
    return bad(r, "unknown function (there are cdiv, min and max), before the place");
}

static int64_t atom(reader *r)
{
    if (r->status || ++r->depth > MAX_DEPTH) return bad(r, "too deep an expression");
    int64_t v = 0;
    if (take(r, '(')) {
        v = sum(r);
        if (!take(r, ')')) bad(r, "expected ')'");
    } else if (isdigit((unsigned char)*r->at)) {
        for (; isdigit((unsigned char)*r->at); r->at++)
            if (__builtin_mul_overflow(v, (int64_t)10, &v) || __builtin_add_overflow(v, (int64_t)(*r->at - '0'), &v))
                return bad(r, "too large a number");
    } else if (isalpha((unsigned char)*r->at)) {
        const char *name = r->at;
        while (isalnum((unsigned char)*r->at) || *r->at == '_') r->at++;
        const size_t n = (size_t)(r->at - name);
        int i = 0;
        if (take(r, '(')) {
            v = function(r, name, n);
        } else {
            while (i < r->call->n_fields &&
                   (r->call->fields[i].kind == FAL_FIELD_ARRAY || r->call->fields[i].kind == FAL_FIELD_FLOAT ||
                    strlen(r->call->fields[i].name) != n || memcmp(r->call->fields[i].name, name, n) != 0))
                i++;
            if (i == r->call->n_fields) r->at = name;
            v = i == r->call->n_fields ? bad(r, "no integer field of the op is named so,") : r->call->fields[i].i;
        }
    } else {
        bad(r, "expected a number, a field or '('");
    }
    r->depth--;
    return v;
}

static int64_t product(reader *r)
{
    int64_t v = atom(r);
    while (!r->status && (*r->at == '*' || *r->at == '/')) {
        const char op = *r->at++;
        const int64_t w = atom(r);
        if (op == '/')
            v = divide(r, v, w, false);
        else if (__builtin_mul_overflow(v, w, &v))
            return bad(r, "too large a product");
    }
    return v;
}

static int64_t sum(reader *r)
{
    int64_t v = product(r);
    while (!r->status && (*r->at == '+' || *r->at == '-')) {
        const char op = *r->at++;
        const int64_t w = product(r);
        if (op == '+' ? __builtin_add_overflow(v, w, &v) : __builtin_sub_overflow(v, w, &v))
            return bad(r, "too large a sum");
    }
    return v;
}

static size_t in_range(reader *r, int64_t low, int64_t high)
{
    const int64_t v = sum(r);
    if (!r->status && (v < low || v > high)) {
        char what[96];
        snprintf(what, sizeof what, "the value %lld is not from %lld to %lld,", (long long)v, (long long)low,
                 (long long)high);
        bad(r, what);
    }
    return (size_t)v;
}

static int three(reader *r, size_t out[3], int64_t high)
{
    int n = 0;
    do out[n++] = in_range(r, 1, high);
    while (n < 3 && !r->status && take(r, ','));
    return n;
}

static bool skip_word(reader *r, const char *word)
{
    const size_t n = strlen(word);
    if (strncmp(r->at, word, n) != 0) return false;
    r->at += n;
    return true;
}

fal_status fal_launch_of(const char *text, const fal_wire_call *c, fal_launch *out, fal_error *err)
{
    reader r = { .text = text, .at = text, .call = c, .err = err };
    fal_launch l = { .grid = { 1, 1, 1 }, .block = { 1, 1, 1 } };
    int n_grid = 0, n_block = 0;
    while (!r.status) {
        while (*r.at == ' ' || *r.at == '\t' || *r.at == '\r') r.at++;
        if (*r.at == '\0') break;
        if (skip_word(&r, "block="))
            n_block = three(&r, l.block, 1024);
        else if (skip_word(&r, "grid="))
            n_grid = three(&r, l.grid, INT32_MAX);
        else if (skip_word(&r, "shared="))
            l.shared_bytes = in_range(&r, 0, 1 << 20);
        else if (skip_word(&r, "scratch="))
            l.scratch_bytes = in_range(&r, 0, (int64_t)1 << 34);
        else
            bad(&r, "expected block=, grid=, shared= or scratch=");
        if (!r.status && *r.at && !strchr(" \t\r", *r.at)) bad(&r, "expected a blank");
    }
    if (!r.status && (!n_grid || !n_block)) bad(&r, n_grid ? "block= is missing" : "grid= is missing");
    if (!r.status) *out = l;
    return r.status;
}

bool fal_launch_find(const char *text, size_t n, char *line, size_t size)
{
    static const char mark[] = "falsify-launch:";
    const char *at = memmem(text, n, mark, sizeof mark - 1), *end = text + n;
    if (!at) return false;
    at += sizeof mark - 1;
    while (at < end && (*at == ' ' || *at == '\t')) at++;
    size_t len = 0;
    while (at + len < end && at[len] != '\n' && at[len] != '\0' &&
           !(at + len + 1 < end && at[len] == '*' && at[len + 1] == '/'))
        len++;
    if (len >= size) return false;
    memcpy(line, at, len);
    line[len] = '\0';
    return true;
}
