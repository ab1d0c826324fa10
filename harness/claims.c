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

/* The phrase in the text as whole words, in any case, any white space for a blank. */
static bool holds(const char *text, const char *phrase)
{
    for (const char *s = text; *s; s++) {
        if (s > text && is_word(s[-1])) continue;
        const char *p = phrase, *t = s;
        while (*p && *t) {
            if (*p == ' ' && isspace((unsigned char)*t)) {
                while (isspace((unsigned char)*t)) t++;
                p++;
            } else if (tolower((unsigned char)*t) == *p) {
                t++, p++;
            } else {
                break;
            }
        }
        if (!*p && !is_word(*t)) return true;
    }
    return false;
}

const char *fal_negative_claim(const char *text)
{
    static const char *const phrases[] = { "does not exist", "do not exist",        "does not yet exist",
                                           "doesn't exist",  "is not implemented",  "are not implemented",
                                           "not yet implemented", "not implemented yet", "is not yet supported",
                                           "has no implementation", "does not yet support" };
    for (size_t i = 0; i < N(phrases); i++)
        if (holds(text, phrases[i])) return phrases[i];
    return NULL;
}

bool fal_is_placeholder(const char *text)
{
    static const char *const marks[] = { "todo", "tbd", "fixme", "to be determined", "to be measured", "placeholder" };
    static const char *const wholes[] = { "n/a",   "na",      "none",     "unknown",     "empirical", "empirically",
                                          "tuned", "guess",   "guessed",  "arbitrary",   "magic",     "default",
                                          "xxx",   "unclear", "chosen",   "see above" };
    for (size_t i = 0; i < N(marks); i++)
        if (holds(text, marks[i])) return true;
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
    static const char *const commands[] = { "grep", "test", "bash", "sh",   "apr",  "jq",   "rg",   "find", "diff", "python3", "python",
                                            "uv",   "make", "curl", "awk",  "sed",  "head", "cat",  "for",  "set",  "git",
                                            "ls",   "nvidia-smi",  "llama-cli", "batuta" };
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
