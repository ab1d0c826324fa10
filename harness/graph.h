/* The graph of contracts that depend on each other: edges, what is missing, and circles. */
#ifndef FAL_GRAPH_H
#define FAL_GRAPH_H

#include "harness/contract.h"

typedef struct {
    const char *stem;
    const fal_contract *contract; /* NULL: named by depends_on, and not there */
    int n_bound;                  /* its falsifiers with a check */
    const int *edges;
    int n_edges; /* nodes that it depends on */
    int n_users; /* nodes that depend on it */
    int circle;  /* index of the circle that it is part of, or -1 */
} fal_graph_node;

typedef struct {
    const fal_graph_node *nodes;
    int n_nodes; /* contracts by stem, then what is missing by stem */
    int n_missing, n_edges;
    const int *const *circles;
    const int *circle_sizes;
    int n_circles; /* nodes, each a set that reaches itself; smallest stem first */
} fal_graph;

/* what    Takes every contract of the set, those with errors too: a circle is one of them.
   owns    *out: fal_graph_free; borrows set */
fal_status fal_graph_make(const fal_contract_set *set, fal_graph **out, fal_error *err);
void fal_graph_free(fal_graph *g);

#endif
