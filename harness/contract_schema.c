/* The schema of contracts as JSON Schema, for editors; made from the tables by which contracts are read. */
#include "harness/contract_schema.h"

#include "harness/contract_keys.h"

#include <string.h>

typedef struct {
    const char *object, *key, *under, *help;
} help_row;

static const help_row helps[] = {
#define FAL_HELP(object, key, under, help) { #object, #key, #under, help },
#include "harness/contract_schema.def"
};

static const fal_object *const objects[] = { &fal_object_metadata,   &fal_object_amendment, &fal_object_equation,
                                             &fal_object_obligation, &fal_object_stage,     &fal_object_option,
                                             &fal_object_prompt,     &fal_object_falsifier, &fal_object_check,
                                             &fal_object_floor,      &fal_object_limit,      &fal_object_waiver,    &fal_object_gate };

static const help_row *help_of(const fal_object *object, const char *key)
{
    for (size_t i = 0; i < FAL_N(helps); i++)
        if (strcmp(helps[i].object, object->name) == 0 && strcmp(helps[i].key, key) == 0) return &helps[i];
    return NULL;
}

static json_t *reference(const char *object)
{
    char path[80];
    snprintf(path, sizeof path, "#/definitions/%s", object);
    return json_pack("{s:s}", "$ref", path);
}

/* Text of one key: a closed list, a form, or anything but nothing. */
static json_t *text_of(const fal_key *key)
{
    json_t *j = json_pack("{s:s}", "type", "string");
    if (key->choices) {
        json_t *list = json_array();
        for (size_t i = 0; key->choices[i]; i++) json_array_append_new(list, json_string(key->choices[i]));
        json_object_set_new(j, "enum", list);
    } else if (key->form) {
        json_object_set_new(j, "pattern", json_string(key->form->pattern));
    } else {
        json_object_set_new(j, "minLength", json_integer(1));
    }
    return j;
}

static json_t *list_of(json_t *items, bool distinct)
{
    json_t *j = json_pack("{s:s, s:i, s:o}", "type", "array", "minItems", 1, "items", items);
    if (distinct) json_object_set_new(j, "uniqueItems", json_true());
    return j;
}

/* A map whose keys are those of harness/names.def. */
static json_t *named_params(bool shapes)
{
    size_t n = 0;
    const char *const *names = fal_param_names(shapes, &n);
    json_t *properties = json_object();
    for (size_t i = 0; i < n; i++)
        json_object_set_new(properties, names[i], json_pack("{s:[s, s, s]}", "type", "number", "string", "boolean"));
    return json_pack("{s:s, s:b, s:o}", "type", "object", "additionalProperties", 0, "properties", properties);
}

static json_t *value_of(const fal_key *key, const char *under)
{
    switch (key->kind) {
    case FAL_KEY_TEXT: return text_of(key);
    case FAL_KEY_TEXTS: return list_of(text_of(key), key->distinct);
    case FAL_KEY_NUMBER: return json_pack("{s:s}", "type", "number");
    case FAL_KEY_COUNT: return json_pack("{s:s, s:i}", "type", "integer", "minimum", 1);
    case FAL_KEY_BOOL: return json_pack("{s:s}", "type", "boolean");
    case FAL_KEY_MAP:
        if (strcmp(under, "PARAMS") == 0) return named_params(false);
        if (strncmp(under, "MAP_OF_", 7) == 0)
            return json_pack("{s:s, s:i, s:o}", "type", "object", "minProperties", 1, "additionalProperties",
                             reference(under + 7));
        return reference(under);
    case FAL_KEY_LIST:
        if (strcmp(under, "INTEGERS") == 0)
            return list_of(json_pack("{s:s, s:i}", "type", "integer", "minimum", 0), false);
        if (strcmp(under, "SHAPES") == 0) return list_of(named_params(true), true);
        return list_of(reference(under), false);
    }
    return json_object();
}

static json_t *object_of(const fal_object *object)
{
    json_t *properties = json_object(), *required = json_array();
    for (size_t i = 0; i < object->n_keys; i++) {
        const fal_key *key = &object->keys[i];
        const help_row *help = help_of(object, key->name);
        json_t *value = value_of(key, help ? help->under : "NOTHING");
        if (help) {
            /* beside $ref other keywords are not read, so it goes one level down */
            if (json_object_get(value, "$ref")) value = json_pack("{s:[o]}", "allOf", value);
            json_object_set_new(value, "description", json_string(help->help));
        }
        json_object_set_new(properties, key->name, value);
        if (key->required) json_array_append_new(required, json_string(key->name));
    }
    json_t *j = json_pack("{s:s, s:b, s:o}", "type", "object", "additionalProperties", 0, "properties", properties);
    if (json_array_size(required))
        json_object_set_new(j, "required", required);
    else
        json_decref(required);
    return j;
}

json_t *fal_contract_schema(void)
{
    json_t *definitions = json_object(), *j = object_of(&fal_object_contract);
    for (size_t i = 0; i < FAL_N(objects); i++)
        json_object_set_new(definitions, objects[i]->name, object_of(objects[i]));
    json_t *all = json_pack("{s:s, s:s, s:s}", "$schema", "http://json-schema.org/draft-07/schema#", "title",
                            "Falsify contract", "$comment",
                            "Made by `falsify schema` from the tables by which contracts are read; `falsify validate` "
                            "knows more than a schema can say.");
    if (!all || !definitions || !j || json_object_update(all, j) != 0 ||
        json_object_set(all, "definitions", definitions) != 0) {
        json_decref(all);
        all = NULL;
    }
    json_decref(definitions);
    json_decref(j);
    return all;
}
