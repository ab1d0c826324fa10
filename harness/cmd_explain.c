/* falsify explain CODE: what a rule of the validator asks for, why, what breaks it, and what to do. */
#include "harness/cmd.h"
#include "harness/rules.h"
#include "harness/text.h"

#include <string.h>

static const char usage[] = "falsify explain CODE... | --list | --markdown";

static void print_indented(FILE *f, const char *label, const char *text)
{
    for (const char *line = text; *line;) {
        const int n = (int)strcspn(line, "\n");
        fprintf(f, "  %-9s %.*s\n", label, n, line);
        label = "";
        line += n;
        line += *line == '\n';
    }
}

static void explain(const fal_rule *r, FILE *f)
{
    fprintf(f, "%s  %s\n", r->code, r->what);
    fprintf(f, "  %-9s %s under strict, %s under pv\n", "severity", fal_severity_name(r->severity[FAL_PROFILE_STRICT]),
            fal_severity_name(r->severity[FAL_PROFILE_PV]));
    print_indented(f, "rule of", r->source);
    print_indented(f, "why", r->why);
    print_indented(f, "example", r->example);
    print_indented(f, "fix", r->fix);
}

static void list(FILE *f)
{
    fprintf(f, "%-16s %-8s %-8s %s\n", "code", "strict", "pv", "rule");
    for (int i = 0; i < FAL_N_RULES; i++) {
        const fal_rule *r = fal_rule_get((fal_rule_id)i);
        fprintf(f, "%-16s %-8s %-8s %s\n", r->code, fal_severity_name(r->severity[FAL_PROFILE_STRICT]),
                fal_severity_name(r->severity[FAL_PROFILE_PV]), r->what);
    }
}

static void put_cell(FILE *f, const char *s)
{
    for (; *s; s++)
        if (*s == '\n')
            fputs("<br>", f);
        else if (strchr("|<>*_`\\", *s))
            fprintf(f, "\\%c", *s);
        else
            fputc(*s, f);
}

/* The table as a page; contracts/rules.md is this, and a test holds it to it. */
static void markdown(FILE *f)
{
    fputs("# Rules of `falsify validate`\n\nMade by `falsify explain --markdown`. Severity under each profile; "
          "`falsify explain CODE` adds why and an "
          "example.\n\n| code | strict | pv | rule | fix | rule of |\n|---|---|---|---|---|---|\n",
          f);
    for (int i = 0; i < FAL_N_RULES; i++) {
        const fal_rule *r = fal_rule_get((fal_rule_id)i);
        fprintf(f, "| %s | %s | %s | ", r->code, fal_severity_name(r->severity[FAL_PROFILE_STRICT]),
                fal_severity_name(r->severity[FAL_PROFILE_PV]));
        put_cell(f, r->what);
        fputs(" | ", f);
        put_cell(f, r->fix);
        fputs(" | ", f);
        put_cell(f, r->source);
        fputs(" |\n", f);
    }
}

static fal_status unknown(const char *code, fal_error *err)
{
    const char *codes[FAL_N_RULES];
    for (int i = 0; i < FAL_N_RULES; i++) codes[i] = fal_rule_get((fal_rule_id)i)->code;
    const char *near = fal_nearest(code, codes, FAL_N_RULES);
    return fal_fail(err, FAL_ERR_NOTHING, "'falsify explain --list' lists the codes", "there is no rule '%.60s'%s%s%s",
                    code, near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
}

int fal_cmd_explain(int argc, char **argv, const fal_cmd_env *env, fal_error *err)
{
    if (argc == 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
        fprintf(env->out,
                "usage: %s\n\nSays what a code of `falsify validate` means: the rule, its severity under each profile, "
                "where it comes\n"
                "from, why it is there, what breaks it, and what to do.\n\n  --list      all codes, a line each\n"
                "  --markdown  all of them as a page\n\nexit status: 0, 2 usage, 4 there is no such code\n",
                usage);
        return 0;
    }
    if (argc == 2 && strcmp(argv[1], "--list") == 0) {
        list(env->out);
        return 0;
    }
    if (argc == 2 && strcmp(argv[1], "--markdown") == 0) {
        markdown(env->out);
        return 0;
    }
    if (argc < 2) return fal_exit_status(fal_fail(err, FAL_ERR_USAGE, usage, "explain: no code"));
    for (int i = 1; i < argc; i++)
        if (argv[i][0] == '-')
            return fal_exit_status(fal_fail(err, FAL_ERR_USAGE, usage, "explain: unknown option '%.60s'", argv[i]));
    for (int i = 1; i < argc; i++) {
        const int rule = fal_rule_find(argv[i]);
        if (rule < 0) return fal_exit_status(unknown(argv[i], err));
        if (i > 1) fputc('\n', env->out);
        explain(fal_rule_get((fal_rule_id)rule), env->out);
    }
    return 0;
}
