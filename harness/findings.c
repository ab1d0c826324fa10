/* Findings about contracts that were loaded before: their files are read once more, so that each has its line and caret. */
#include "harness/findings.h"

#include "harness/text.h"

#include <stdarg.h>
#include <string.h>

fal_status fal_finding_open(fal_finding_file *f, const char *path, fal_diagnoses *all, fal_error *err)
{
    *f = (fal_finding_file){ .file = { .path = path } };
    f->file.all = &f->form;
    const fal_status st = fal_yaml_load(path, &f->arena, &f->file, &f->yaml, err);
    f->file.all = all;
    f->file.n_errors = f->file.n_warnings = f->file.n_notes = 0;
    return st;
}

void fal_finding_close(fal_finding_file *f)
{
    fal_diagnose_hidden(&f->file);
    fal_diagnoses_free(&f->form);
    fal_arena_free(&f->arena);
}

const fal_yaml_node *fal_finding_item(const fal_yaml_node *list, long n)
{
    const fal_yaml_node *c = list && list->kind == FAL_YAML_LIST ? list->first : NULL;
    while (c && n-- > 0) c = c->next;
    return c;
}

void fal_finding_at(fal_finding_file *f, const fal_yaml_node *node, fal_place fallback, fal_rule_id rule,
                    const char *suggestion, const char *fmt, ...)
{
    char text[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    fal_text safe = { 0 }; /* ids have a checked form, but reasons come from evidence */
    fal_text_add_safe(&safe, text, strlen(text));
    fal_diagnose(&f->file, rule, node ? node->place : fallback, node ? node->width : 1, suggestion, "%s",
                 fal_text_str(&safe));
    if (safe.failed) f->file.failed = true;
    fal_text_free(&safe);
}
