/* Reports of derived status and of coverage: as text, Markdown and JSON. */
#ifndef FAL_STATUS_REPORT_H
#define FAL_STATUS_REPORT_H

#include "harness/awaited.h"
#include "harness/cmd_args.h"
#include "harness/derive.h"
#include "harness/records.h"

typedef struct {
    const fal_cmd_args *args; /* selection, verbosity, colour */
    const fal_contract_set *set;
    const fal_records *records;
    const fal_derived *derived;
    const fal_awaited_list *awaited;
    fal_fresh_count fresh;
} fal_status_report;

void fal_status_text(const fal_status_report *r, FILE *f);
void fal_status_markdown(const fal_status_report *r, FILE *f);
json_t *fal_status_json(const fal_status_report *r);

/* what    Obligations x falsifiers x backends: what evidence says in each cell. */
void fal_coverage_text(const fal_status_report *r, FILE *f);
void fal_coverage_markdown(const fal_status_report *r, FILE *f);
json_t *fal_coverage_json(const fal_status_report *r);

#endif
