/* Rows of key tables in short form, and lists of maps that are read by one table. */
#ifndef FAL_CONTRACT_ROWS_H
#define FAL_CONTRACT_ROWS_H

#include "harness/contract_keys.h"

#define NOWHERE FAL_NOT_STORED, FAL_NOT_STORED
#define TEXT(name, required, type, member)                                                                             \
    {                                                                                                                  \
        name, FAL_KEY_TEXT, required, offsetof(type, member), FAL_NOT_STORED, NULL, NULL, false                        \
    }
#define ENUM(name, required, type, member, list)                                                                       \
    {                                                                                                                  \
        name, FAL_KEY_TEXT, required, offsetof(type, member), FAL_NOT_STORED, list, NULL, false                        \
    }
#define NAMED(name, required, type, member, form)                                                                      \
    {                                                                                                                  \
        name, FAL_KEY_TEXT, required, offsetof(type, member), FAL_NOT_STORED, NULL, form, false                        \
    }
#define TEXTS(name, required, type, member)                                                                            \
    {                                                                                                                  \
        name, FAL_KEY_TEXTS, required, offsetof(type, member), offsetof(type, n_##member), NULL, NULL, false           \
    }
#define NAMES(name, required, type, member, form)                                                                      \
    {                                                                                                                  \
        name, FAL_KEY_TEXTS, required, offsetof(type, member), offsetof(type, n_##member), NULL, form, true            \
    }
#define PROSE(name)                                                                                                    \
    {                                                                                                                  \
        name, FAL_KEY_TEXT, false, NOWHERE, NULL, NULL, false                                                          \
    } /* checked, not kept */
#define PROSE_LIST(name)                                                                                               \
    {                                                                                                                  \
        name, FAL_KEY_TEXTS, false, NOWHERE, NULL, NULL, false                                                         \
    } /* the same */
#define MAP(name, required)                                                                                            \
    {                                                                                                                  \
        name, FAL_KEY_MAP, required, NOWHERE, NULL, NULL, false                                                        \
    }
#define LIST(name, required)                                                                                           \
    {                                                                                                                  \
        name, FAL_KEY_LIST, required, NOWHERE, NULL, NULL, false                                                       \
    }

/* A kind of item of a list: its table, where it goes, and what a table cannot say. */
typedef struct {
    const char *list, *what;
    const fal_key *keys;
    size_t n_keys, size;
    /* after the table has been read; false leaves the item out */
    bool (*finish)(fal_contract_file *f, const fal_yaml_node *node, void *item, const fal_yaml_node *const *found);
} fal_item_kind;

enum { FAL_MAX_ITEM_KEYS = 12 };

/* what    Reads the maps of a list (NULL: none) into structs of kind->size; *nodes (when wanted) gets the map of each
           that was kept. Returns how many. */
int fal_items_read(fal_contract_file *f, const fal_yaml_node *list, const fal_item_kind *kind, const void **out,
                   const fal_yaml_node ***nodes);
/* what    Refuses items of a list that share the value of `key`, their name within this list. */
void fal_items_refuse_same(fal_contract_file *f, const fal_yaml_node *list, const char *key, const char *what);

#endif
