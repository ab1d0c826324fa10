/* Waivers in use: which one a case has, whether it still holds, and whether it covers a value. */
#ifndef FAL_WAIVER_H
#define FAL_WAIVER_H

#include "harness/contract.h"

/* what    The waiver of a check on a backend, or NULL; expired ones too. */
const fal_waiver *fal_waiver_of(const fal_contract *c, const char *falsifier, const char *check, const char *backend);
/* what    True from the day after `expires` on. today: 2026-11-25, more may follow. */
bool fal_waiver_expired(const fal_waiver *w, const char *today);
/* what    True when the value is within the waiver's own limit; never for NaN. */
bool fal_waiver_covers(const fal_waiver *w, double value);

#endif
