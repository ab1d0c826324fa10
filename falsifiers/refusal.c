/* Refusals: what is spoilt must be refused as bad input, in the name of its contract, and leave nothing behind. */
#include "falsifiers/judgement.h"

#include <stdio.h>
#include <string.h>

static const json_t *refusal_of(const fal_evidence_in *in, fal_verdict *out)
{
    const json_t *const j = json_object_get(in->got->about, "refusal");
    if (!json_is_object(j) || !json_is_boolean(json_object_get(j, "refused"))) {
        fal_stop(out, FAL_CRASHED, "the observer did not deliver refusal.refused");
        return NULL;
    }
    return j;
}

/* A string of the observer, shortened, with nothing in it that a terminal acts upon. */
static void plain_text(char *text, size_t size, const json_t *object, const char *key)
{
    const char *const s = json_string_value(json_object_get(object, key));
    snprintf(text, size, "%s", s ? s : "");
    for (char *p = text; *p; p++)
        if ((unsigned char)*p < 0x20 || (unsigned char)*p >= 0x7f) *p = '?';
}

void fal_judge_refused(const fal_evidence_in *in, fal_verdict *out)
{
    const json_t *const j = refusal_of(in, out);
    const char *const expected = fal_params_text(&in->check->with, "contract", NULL);
    char code[24], contract[64], message[120];
    if (!j) return;
    plain_text(code, sizeof code, j, "code");
    plain_text(contract, sizeof contract, j, "contract");
    plain_text(message, sizeof message, j, "message");
    const bool refused = json_is_true(json_object_get(j, "refused")), is_input = strcmp(code, "input") == 0;
    const bool named = !expected || strcmp(contract, expected) == 0, explained = message[0] != '\0';
    const double value = refused && is_input && named && explained ? 1 : 0;
    if (!refused) fal_give(out, value, 1, "it was accepted");
    else if (!is_input) fal_give(out, value, 1, "refused with code '%s' instead of 'input': %s", code, message);
    else if (!explained) fal_give(out, value, 1, "refused without a message");
    else if (!named)
        fal_give(out, value, 1, "refused in the name of '%s' instead of '%.64s': %s", contract, expected, message);
    else fal_give(out, value, 1, "%s", message);
}

void fal_judge_no_leak(const fal_evidence_in *in, fal_verdict *out)
{
    const json_t *const j = refusal_of(in, out);
    if (!j) return;
    const json_t *const before = json_object_get(j, "live_bytes_before"), *const after =
                                                                              json_object_get(j, "live_bytes_after");
    if (!json_is_integer(before) || !json_is_integer(after)) {
        fal_stop(out, FAL_CRASHED, "the observer did not deliver refusal.live_bytes_before and live_bytes_after");
        return;
    }
    const double b = (double)json_integer_value(before), a = (double)json_integer_value(after);
    fal_give(out, a - b, 1, "%.0f live device bytes before, %.0f after", b, a);
    snprintf(out->worst, sizeof out->worst, "refusal.live_bytes_after");
    out->has_worst = true;
    out->got = a;
    out->want = b;
    if (json_is_false(json_object_get(j, "refused")))
        fal_refute(out, "it was accepted, so there is no refusal that could have leaked or not");
}
