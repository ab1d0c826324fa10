/* YAML sources: reading a file whole, and refusing bytes that readers and parsers see differently. */
#include "harness/yaml.h"

#include "harness/text.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

bool fal_yaml_is_bidi(unsigned c)
{
    return c == 0x61C || c == 0x200E || c == 0x200F || (c >= 0x202A && c <= 0x202E) || (c >= 0x2066 && c <= 0x2069);
}

/* Allowed to stand in a file at all: no control characters, and no line ends that only some programs count. */
static bool is_control(unsigned c)
{
    return (c < 0x20 && c != '\t' && c != '\n') || (c >= 0x7F && c <= 0x9F) || c == 0x2028 || c == 0x2029 ||
           c == 0xFFFE || c == 0xFFFF;
}

static bool find_lines(const char *bytes, size_t n, fal_arena *a, fal_file_diagnosis *d)
{
    size_t n_lines = 1;
    for (size_t i = 0; i < n; i++) n_lines += bytes[i] == '\n';
    size_t *lines = fal_arena_take(a, n_lines, sizeof *lines);
    if (!lines) {
        d->failed = true;
        return false;
    }
    size_t k = 1;
    for (size_t i = 0; i < n; i++)
        if (bytes[i] == '\n') lines[k++] = i + 1;
    d->source = bytes;
    d->size = n;
    d->lines = lines;
    d->n_lines = n_lines;
    return true;
}

/* The three byte order marks, and UTF-16 without one: every other byte of the first ASCII text is then 0. */
static const char *foreign_encoding(const unsigned char *b, size_t n)
{
    if (n >= 3 && b[0] == 0xEF && b[1] == 0xBB && b[2] == 0xBF) return "a UTF-8 byte order mark";
    if (n >= 2 && ((b[0] == 0xFF && b[1] == 0xFE) || (b[0] == 0xFE && b[1] == 0xFF))) return "a UTF-16 byte order mark";
    if (n >= 4 && ((!b[0] && b[1] && !b[2] && b[3]) || (b[0] && !b[1] && b[2] && !b[3]))) return "UTF-16 text";
    return NULL;
}

bool fal_yaml_scan_source(const char *bytes, size_t n, fal_arena *a, fal_file_diagnosis *d)
{
    if (!find_lines(bytes, n, a, d)) return false;
    const char *foreign = foreign_encoding((const unsigned char *)bytes, n);
    if (foreign) {
        fal_diagnose(d, FAL_RULE_FORM_003, (fal_place){ 1, 1 }, 1,
                     "save the file as UTF-8 without a byte order mark", "file starts with %s, expected plain UTF-8",
                     foreign);
        return false;
    }
    bool whole = true;
    fal_place at = { 1, 1 };
    for (size_t i = 0; i < n;) {
        unsigned c = 0;
        size_t len = fal_utf8_next(bytes + i, n - i, &c);
        if (len == 0) {
            fal_diagnose(d, FAL_RULE_FORM_004, at, 1, "save the file as UTF-8",
                         "byte 0x%02x at offset %zu is not valid UTF-8", (unsigned)(unsigned char)bytes[i], i);
            whole = false;
            len = 1;
        } else if (c == '\r' && i + 1 < n && bytes[i + 1] == '\n') {
            ; /* the line end of other systems, which libyaml and editors count alike */
        } else if (is_control(c)) {
            fal_diagnose(d, FAL_RULE_FORM_005, at, 1, c == '\r' ? "end lines with LF" : NULL,
                         "control or line-break character U+%04X is not allowed", c);
            whole = false;
        } else if (fal_yaml_is_bidi(c)) {
            /* not fatal to the parser, but a reviewer would read another text than the program */
            fal_diagnose(d, FAL_RULE_FORM_007, at, 1, NULL,
                         "bidirectional control U+%04X makes the text look other than it is", c);
        } else if (c == '%' && at.column == 1) {
            /* refused wherever a line starts with it: the library takes quadratic time over many %TAG lines */
            fal_diagnose(d, FAL_RULE_FORM_009, at, 1, NULL,
                         "a line that starts with '%%' is a YAML directive; none is allowed");
            whole = false;
        }
        if (c == '\n' && len) {
            at.line++;
            at.column = 1;
        } else {
            at.column++;
        }
        i += len;
    }
    return whole;
}

/* Reads at most FAL_YAML_MAX_BYTES + 1 bytes of an open file, so that one that grows meanwhile is still refused. */
static char *read_all(int fd, size_t expected, fal_arena *a, size_t *n)
{
    size_t cap = expected + 1 < FAL_YAML_MAX_BYTES + 1 ? expected + 1 : FAL_YAML_MAX_BYTES + 1;
    char *bytes = fal_arena_take(a, cap + 1, 1);
    *n = 0;
    while (bytes && *n < cap) {
        const ssize_t got = read(fd, bytes + *n, cap - *n);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return NULL;
        if (got == 0) break;
        *n += (size_t)got;
    }
    return bytes;
}

fal_status fal_yaml_load(const char *path, fal_arena *a, fal_file_diagnosis *d, fal_yaml *out, fal_error *err)
{
    *out = (fal_yaml){ 0 };
    const fal_place none = { 0, 0 };
    /* O_NONBLOCK: opening a named pipe must not wait for its writer */
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) != 0) {
        fal_diagnose(d, FAL_RULE_FORM_001, none, 1, NULL, "cannot open: %s", strerror(errno));
        if (fd >= 0) close(fd);
        return d->failed ? fal_fail(err, FAL_ERR_MEMORY, NULL, "out of memory while reading %s", path) : FAL_OK;
    }
    const char *bytes = NULL;
    size_t n = 0;
    if (!S_ISREG(st.st_mode)) {
        fal_diagnose(d, FAL_RULE_FORM_001, none, 1, NULL, "not a regular file");
    } else if (st.st_size > FAL_YAML_MAX_BYTES) {
        fal_diagnose(d, FAL_RULE_FORM_002, none, 1, "split the contract",
                     "file has %lld bytes, at most %d are allowed", (long long)st.st_size, FAL_YAML_MAX_BYTES);
    } else {
        bytes = read_all(fd, (size_t)st.st_size, a, &n);
        if (!bytes && !a->failed) {
            fal_diagnose(d, FAL_RULE_FORM_001, none, 1, NULL, "cannot read: %s", strerror(errno));
        } else if (bytes && n > (size_t)st.st_size) {
            fal_diagnose(d, FAL_RULE_FORM_001, none, 1, NULL, "file grew while it was read");
            bytes = NULL;
        }
    }
    close(fd);
    if (a->failed || d->failed) return fal_fail(err, FAL_ERR_MEMORY, NULL, "out of memory while reading %s", path);
    return bytes ? fal_yaml_parse(bytes, n, a, d, out, err) : FAL_OK;
}
