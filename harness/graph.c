/* The graph of contracts that depend on each other: edges, what is missing, and circles. */
#include "harness/graph.h"

#include "harness/arena.h"

#include <stdlib.h>
#include <string.h>

typedef struct {
    fal_graph graph; /* first: fal_graph_free finds the whole by it */
    fal_arena arena;
    fal_graph_node *nodes;
    int n;
} box;

static int find(const box *b, const char *stem)
{
    for (int i = 0; i < b->n; i++)
        if (strcmp(b->nodes[i].stem, stem) == 0) return i;
    return -1;
}

static int compare_nodes(const void *a, const void *b)
{
    return strcmp(((const fal_graph_node *)a)->stem, ((const fal_graph_node *)b)->stem);
}

static bool collect(box *b, const fal_contract_set *set)
{
    size_t most = (size_t)set->n_all;
    for (int i = 0; i < set->n_all; i++) most += (size_t)set->all[i]->n_depends_on;
    b->nodes = fal_arena_take(&b->arena, most, sizeof *b->nodes);
    if (!b->nodes) return false;
    for (int i = 0; i < set->n_all; i++) {
        const fal_contract *c = set->all[i];
        if (find(b, c->stem) >= 0) continue; /* two files of one name are diagnosed elsewhere */
        fal_graph_node *n = &b->nodes[b->n++];
        *n = (fal_graph_node){ .stem = c->stem, .contract = c, .circle = -1 };
        for (int k = 0; k < c->n_falsifiers; k++)
            n->n_bound += c->falsifiers[k].n_checks > 0 && !c->falsifiers[k].retired;
    }
    const int here = b->n;
    for (int i = 0; i < here; i++)
        for (int k = 0; k < b->nodes[i].contract->n_depends_on; k++)
            if (find(b, b->nodes[i].contract->depends_on[k]) < 0)
                b->nodes[b->n++] = (fal_graph_node){ .stem = b->nodes[i].contract->depends_on[k], .circle = -1 };
    b->graph.n_missing = b->n - here;
    qsort(b->nodes, (size_t)here, sizeof *b->nodes, compare_nodes);
    qsort(b->nodes + here, (size_t)(b->n - here), sizeof *b->nodes, compare_nodes);
    for (int i = 0; i < here; i++) {
        fal_graph_node *n = &b->nodes[i];
        int *edges = fal_arena_take(&b->arena, (size_t)n->contract->n_depends_on, sizeof *edges);
        if (!edges) return false;
        for (int k = 0; k < n->contract->n_depends_on; k++) {
            edges[n->n_edges++] = find(b, n->contract->depends_on[k]);
            b->nodes[edges[k]].n_users++;
            b->graph.n_edges++;
        }
        n->edges = edges;
    }
    return true;
}

/* Marks what a node reaches by at least one edge. */
static void reach(const box *b, int from, unsigned char *reached, int *stack)
{
    int depth = 0;
    memset(reached, 0, (size_t)b->n);
    stack[depth++] = from;
    while (depth > 0) {
        const fal_graph_node *n = &b->nodes[stack[--depth]];
        for (int k = 0; k < n->n_edges; k++) {
            if (reached[n->edges[k]]) continue;
            reached[n->edges[k]] = 1;
            stack[depth++] = n->edges[k];
        }
    }
}

/* Nodes that reach each other are one circle. */
static bool find_circles(box *b)
{
    const size_t n = (size_t)b->n + 1;
    unsigned char *of_first = fal_arena_take(&b->arena, n, 1), *of_other = fal_arena_take(&b->arena, n, 1);
    int *stack = fal_arena_take(&b->arena, n, sizeof *stack), *sizes = fal_arena_take(&b->arena, n, sizeof *sizes);
    const int **circles = fal_arena_take(&b->arena, n, sizeof *circles);
    if (!of_first || !of_other || !stack || !sizes || !circles) return false;
    for (int i = 0; i < b->n; i++) {
        if (b->nodes[i].circle >= 0) continue;
        reach(b, i, of_first, stack);
        if (!of_first[i]) continue;
        int *members = fal_arena_take(&b->arena, n, sizeof *members), count = 0;
        if (!members) return false;
        for (int k = i; k < b->n; k++) {
            if (!of_first[k]) continue;
            if (k != i) reach(b, k, of_other, stack);
            if (k != i && !of_other[i]) continue;
            b->nodes[k].circle = b->graph.n_circles;
            members[count++] = k;
        }
        sizes[b->graph.n_circles] = count;
        circles[b->graph.n_circles++] = members;
    }
    b->graph.circles = circles;
    b->graph.circle_sizes = sizes;
    return true;
}

fal_status fal_graph_make(const fal_contract_set *set, fal_graph **out, fal_error *err)
{
    box *b = calloc(1, sizeof *b);
    if (!b || !collect(b, set) || !find_circles(b)) {
        if (b) fal_graph_free(&b->graph);
        return fal_fail(err, FAL_ERR_MEMORY, NULL, "no memory for the graph");
    }
    b->graph.nodes = b->nodes;
    b->graph.n_nodes = b->n;
    *out = &b->graph;
    return FAL_OK;
}

void fal_graph_free(fal_graph *g)
{
    if (!g) return;
    box *b = (box *)g;
    fal_arena_free(&b->arena);
    free(b);
}
