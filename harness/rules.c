/* Rules: the table, and looking up in it. */
#include "harness/rules.h"

#include <string.h>
#include <strings.h>

#define FAL_RULE(id, code, strict, pv, source, what, why, example, fix)                                                \
    { code, { FAL_##strict, FAL_##pv }, source, what, why, example, fix },
static const fal_rule rules[] = {
#include "harness/rules.def"
};

const fal_rule *fal_rule_get(fal_rule_id id)
{
    return &rules[id];
}

int fal_rule_find(const char *code)
{
    for (int i = 0; i < FAL_N_RULES; i++)
        if (strcasecmp(rules[i].code, code) == 0) return i;
    return -1;
}

static const char *const severities[] = {
    [FAL_OFF] = "off", [FAL_NOTE] = "note", [FAL_WARNING] = "warning", [FAL_MISTAKE] = "error"
};

const char *fal_severity_name(fal_severity severity)
{
    return severities[severity];
}

static const char *const profiles[FAL_N_PROFILES] = { [FAL_PROFILE_STRICT] = "strict", [FAL_PROFILE_PV] = "pv" };

const char *fal_profile_name(fal_profile profile)
{
    return profiles[profile];
}

int fal_profile_find(const char *name)
{
    for (int i = 0; i < FAL_N_PROFILES; i++)
        if (strcmp(profiles[i], name) == 0) return i;
    return -1;
}
