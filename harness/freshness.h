/* Freshness: is a piece of evidence still about today's claim, sources, model and oracle, and if not, why. */
#ifndef FAL_FRESHNESS_H
#define FAL_FRESHNESS_H

#include "harness/contract.h"
#include "harness/records.h"
#include "harness/sources.h"

typedef struct {
    const fal_contract_set *contracts;
    const fal_source *sources; /* fal_sources, but for tests */
    const char *date;          /* 2026-11-25, more may follow: by which waivers expire */
    const char *const *models; /* files whose content is known here; NULL-terminated, may be NULL */
} fal_today;

/* what    Sets fresh and why_not of every record. A record counts when it is trusted, listed by a run and fresh. It is stale
           when it does not say which claim or sources it is about; when a check or an obligation of its falsifier changed,
           came or went; when the sources of its backend, the reference or what they share changed; when a model or oracle
           of that name is here and is another file; when its falsifier is retired, unbound or gone; when a case was waived and
           no waiver of today covers it. why_not names all of
           these that apply. */
fal_status fal_freshness_judge(fal_records *records, const fal_today *today, fal_error *err);

#endif
