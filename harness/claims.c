/* What words of a contract betray: claims that something is absent, placeholders, tests that are prose. */
#include "harness/claims.h"

#include <ctype.h>
#include <stddef.h>
#include <string.h>
#include <strings.h>

#define N(array) (sizeof(array) / sizeof((array)[0]))

static bool is_word(char c)
{
    return isalnum((unsigned char)c) || c == '_' || (unsigned char)c >= 0x80;
}

/* True when the phrase stands at s as whole words, in any case, any white space for a blank. */
static bool stands_at(const char *s, const char *phrase)
{
    while (*phrase && *s) {
        if (*phrase == ' ' && isspace((unsigned char)*s)) {
            while (isspace((unsigned char)*s)) s++;
            phrase++;
        } else if (tolower((unsigned char)*s) == *phrase) {
            s++, phrase++;
        } else {
            return false;
        }
    }
    return !*phrase && !is_word(*s);
}

/* The first of the phrases in the text, or NULL. */
static const char *find_phrase(const char *text, const char *const *phrases, size_t n)
{
    enum { LOOKED_AT = 4096 }; /* bytes; more than any claim has */
    for (const char *s = text; *s && s - text < LOOKED_AT; s++) {
        if (s > text && is_word(s[-1])) continue;
        for (size_t i = 0; i < n; i++)
            if ((*s | 0x20) == phrases[i][0] && stands_at(s, phrases[i])) return phrases[i];
    }
    return NULL;
}

const char *fal_negative_claim(const char *text)
{
    static const char *const phrases[] = { "does not exist",        "do not exist",        "does not yet exist",
                                           "doesn't exist",         "is not implemented",  "are not implemented",
                                           "not yet implemented",   "not implemented yet", "is not yet supported",
                                           "has no implementation", "does not yet support" };
    return find_phrase(text, phrases, N(phrases));
}

bool fal_is_placeholder(const char *text)
{
    static const char *const marks[] = { "todo", "tbd", "fixme", "to be determined", "to be measured", "placeholder" };
    static const char *const wholes[] = { "n/a",   "na",      "none",    "unknown",   "empirical", "empirically",
                                          "tuned", "guess",   "guessed", "arbitrary", "magic",     "default",
                                          "xxx",   "unclear", "chosen",  "see above" };
    if (find_phrase(text, marks, N(marks))) return true;
    size_t from = strspn(text, " \t\n"), n = strlen(text);
    while (n > from && strchr(" \t\n.!?", text[n - 1])) n--;
    if (n == from) return true; /* white space and full stops */
    for (size_t i = 0; i < N(wholes); i++)
        if (n - from == strlen(wholes[i]) && strncasecmp(text + from, wholes[i], n - from) == 0) return true;
    return false;
}

/* ---- tests of foreign contracts ---- */

static bool starts(const char *s, const char *word)
{
    const size_t n = strlen(word);
    return strncmp(s, word, n) == 0 && (s[n] == '\0' || isspace((unsigned char)s[n]));
}

/* One word of the form test_x, prop_x or a::path::to_it. */
static bool is_function(const char *s)
{
    size_t n = 0;
    bool path = false;
    while (is_word(s[n]) || (s[n] == ':' && s[n + 1] == ':')) {
        if (s[n] == ':') {
            path = true;
            n++;
        }
        n++;
    }
    while (isspace((unsigned char)s[n])) n++;
    if (n == 0 || s[n]) return false;
    return path || strncmp(s, "test_", 5) == 0 || strncmp(s, "prop_", 5) == 0 || strncmp(s, "falsify_", 8) == 0;
}

fal_test_kind fal_test_kind_of(const char *text)
{
    static const char *const commands[] = { "grep", "test",       "bash",      "sh",     "apr", "jq",   "rg",
                                            "find", "diff",       "python3",   "python", "uv",  "make", "curl",
                                            "awk",  "sed",        "head",      "cat",    "for", "set",  "git",
                                            "ls",   "nvidia-smi", "llama-cli", "batuta" };
    while (isspace((unsigned char)*text)) text++;
    if (!*text) return FAL_TEST_NONE;
    const char *s = text;
    /* VARIABLE=value before the command */
    for (size_t n; (n = strspn(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789")) > 0 && s[n] == '=';) {
        s += n + strcspn(s + n, " \t\n");
        while (isspace((unsigned char)*s)) s++;
    }
    if (starts(s, "cargo")) return FAL_TEST_CARGO;
    if (is_function(s)) return FAL_TEST_FUNCTION;
    for (size_t i = 0; i < N(commands); i++)
        if (starts(s, commands[i])) return FAL_TEST_SHELL;
    if (*s == '!' || *s == '[' || strncmp(s, "./", 2) == 0 || strncmp(s, "$(", 2) == 0) return FAL_TEST_SHELL;
    return FAL_TEST_PROSE;
}

const char *fal_test_kind_name(fal_test_kind kind)
{
    static const char *const names[] = { "none", "prose", "cargo", "function", "shell" };
    return names[kind];
}
