/* falsify init FILE: a new contract to start from, which validates as it is. */
#include "harness/cmd.h"
#include "harness/text.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const char usage[] = "falsify init FOLDER/NAME-v1.yaml";

/* @ stands for the stem in capitals, ~ for the day. */
static const char template[] = "# yaml-language-server: $schema=contract.schema.json\n"
                               "# One sentence: what this contract claims.\n"
                               "metadata:\n"
                               "  version: \"1.0.0\"\n"
                               "  description: What the contract is about.\n"
                               "  kind: kernel\n"
                               "  created: \"~\"\n"
                               "  author: Who wrote it\n"
                               "  references:\n"
                               "    - \"Bridle (1990): Training Stochastic Model Recognition Algorithms as Networks\"\n"
                               "  amendment_history:\n"
                               "    - version: \"1.0.0\"\n"
                               "      date: \"~\"\n"
                               "      kind: created\n"
                               "      title: First version\n"
                               "status: DRAFT\n"
                               "equations:\n"
                               "  softmax:\n"
                               "    formula: \"y[i] = exp(x[i] - max(x)) / sum_j exp(x[j] - max(x))\"\n"
                               "    domain: \"x in R^n, n >= 1\"\n"
                               "proof_obligations:\n"
                               "  - id: @-INV-001\n"
                               "    type: invariant\n"
                               "    property: Every row of the output adds up to 1\n"
                               "    formal: \"|sum_i y[i] - 1| <= 5e-6\"\n"
                               "falsification_tests:\n"
                               "  - id: FALSIFY-@-001\n"
                               "    rule: Rows add up to 1\n"
                               "    prediction: Every row of the output adds up to 1 within 5e-6.\n"
                               "    if_fails: The sum leaves out part of the row.\n"
                               "    obligations: [@-INV-001]\n"
                               "    check:\n"
                               "      - name: row_sum\n"
                               "        observe: op\n"
                               "        op: softmax\n"
                               "        judge: row_sum\n"
                               "        against: none\n"
                               "        limit: {max: 5.0e-6}\n"
                               "        basis: >-\n"
                               "          u = 2^-24. A sum of 64 terms errs by at most 63 u = 3.8e-6, a division "
                               "within 2.5 ulp by 3.0e-7: 4.1e-6 at\n"
                               "          worst. Replace this by the derivation of your own limit.\n"
                               "        shapes: [{n_rows: 3, n_cols: 64}]\n"
                               "        fills: [gauss]\n"
                               "        seeds: [1]\n"
                               "qa_gate:\n"
                               "  id: F-@\n"
                               "  name: What must pass\n"
                               "  pass_criteria: Every bound falsifier survives on every required backend.\n"
                               "  falsification: What to break to see a falsifier die.\n";

/* The stem of the path in the form of ids, or false. */
static bool id_of(const char *path, char *id, size_t size)
{
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    const size_t n = strlen(name);
    if (n < 6 || strcmp(name + n - 5, ".yaml") != 0 || n - 5 >= size || !isalpha((unsigned char)name[0])) return false;
    for (size_t i = 0; i < n - 5; i++) {
        if (!isalnum((unsigned char)name[i]) && name[i] != '-' && name[i] != '_') return false;
        id[i] = name[i] == '_' ? '-' : (char)toupper((unsigned char)name[i]);
    }
    id[n - 5] = '\0';
    return true;
}

static fal_status write_new(const char *path, const char *text, size_t n, fal_error *err)
{
    const int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd < 0)
        return fal_fail(err, errno == EEXIST ? FAL_ERR_USAGE : FAL_ERR_OUTPUT,
                        errno == EEXIST ? "name another file; nothing is overwritten" : NULL, "init: %.200s: %s", path,
                        strerror(errno));
    size_t done = 0;
    while (done < n) {
        const ssize_t wrote = write(fd, text + done, n - done);
        if (wrote < 0 && errno == EINTR) continue;
        if (wrote <= 0) break;
        done += (size_t)wrote;
    }
    if (close(fd) == 0 && done == n) return FAL_OK;
    unlink(path);
    return fal_fail(err, FAL_ERR_OUTPUT, NULL, "init: %.200s could not be written", path);
}

int fal_cmd_init(int argc, char **argv, const fal_cmd_env *env, fal_error *err)
{
    char id[44], day[11];
    if (argc == 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
        fprintf(env->out,
                "usage: %s\n\nWrites a new contract to start from: one equation, one obligation, one falsifier with a "
                "check. It validates as it\n"
                "is, and its falsifier runs; replace what it says by your own claim. Nothing is overwritten.\n\n"
                "exit status: 0, 2 usage or the file exists, 8 it could not be written\n",
                usage);
        return 0;
    }
    if (argc != 2 || argv[1][0] == '-')
        return fal_exit_status(fal_fail(err, FAL_ERR_USAGE, usage, "init takes one path"));
    if (!id_of(argv[1], id, sizeof id))
        return fal_exit_status(fal_fail(
            err, FAL_ERR_USAGE, usage,
            "init: the file name must be <stem>.yaml, of letters, digits, '-' and '_', at most 43, found '%.80s'",
            argv[1]));
    const time_t now = time(NULL);
    struct tm utc;
    if (!gmtime_r(&now, &utc) || strftime(day, sizeof day, "%Y-%m-%d", &utc) == 0)
        return fal_exit_status(fal_fail(err, FAL_ERR_INTERNAL, NULL, "no date"));
    fal_text t = { 0 };
    for (const char *c = template; *c; c++)
        if (*c == '@')
            fal_text_add(&t, id);
        else if (*c == '~')
            fal_text_add(&t, day);
        else
            fal_text_add_n(&t, c, 1);
    const fal_status status = t.failed ? fal_fail(err, FAL_ERR_MEMORY, NULL, "no memory for a contract")
                                       : write_new(argv[1], fal_text_str(&t), t.len, err);
    fal_text_free(&t);
    if (status) return fal_exit_status(status);
    fputs("wrote ", env->out);
    fal_text_print(env->out, argv[1], strlen(argv[1]));
    fputs("; next: falsify validate ", env->out);
    fal_text_print(env->out, argv[1], strlen(argv[1]));
    fputc('\n', env->out);
    return 0;
}
