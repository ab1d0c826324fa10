/* falsify graph [PATHS]: which contract depends on which, as text, DOT or JSON, with circles and what is missing. */
#include "harness/cmd_args.h"
#include "harness/evidence.h"
#include "harness/graph.h"
#include "harness/report.h"
#include "harness/text.h"

#include <string.h>

static const char *const formats[] = { "text", "dot", "json", NULL };

static const fal_cmd_about about = {
    .name = "graph",
    .usage = "falsify graph [PATHS] [--format text|dot|json]",
    .about =
        "Which contract depends on which. Contracts with errors are part of it, as far as they can be read.\n"
        "For a picture: falsify graph --format dot | dot -Tsvg > contracts.svg\n\n"
        "exit status: 0 printed, 2 usage, 3 contracts depend on each other in a circle, or on one that is not there,\n"
        "4 no contract found\n",
    .options = FAL_ARG_FORMAT,
    .formats = formats
};

static const char *note(const fal_graph_node *n)
{
    return !n->contract ? "missing" : n->n_bound == 0 ? "nothing bound" : "";
}

static void print_text(const fal_graph *g, FILE *f)
{
    for (int i = 0; i < g->n_nodes; i++) {
        const fal_graph_node *n = &g->nodes[i];
        fal_report_put(f, n->stem);
        if (*note(n)) fprintf(f, " (%s)", note(n));
        for (int k = 0; k < n->n_edges; k++) {
            fputs(k ? ", " : " -> ", f);
            fal_report_put(f, g->nodes[n->edges[k]].stem);
        }
        fputc('\n', f);
    }
    for (int c = 0; c < g->n_circles; c++) {
        fputs("circle: ", f);
        for (int k = 0; k < g->circle_sizes[c]; k++) {
            fputs(k ? ", " : "", f);
            fal_report_put(f, g->nodes[g->circles[c][k]].stem);
        }
        fputc('\n', f);
    }
    fprintf(f, "\ncontracts    %d, %d dependencies, %d missing, %d circles\n", g->n_nodes - g->n_missing, g->n_edges,
            g->n_missing, g->n_circles);
}

/* A string of DOT: quotes and backslashes escaped, the rest made safe. */
static void put_dot(FILE *f, const char *s)
{
    fal_text safe = { 0 };
    fal_text_add_safe(&safe, s, strlen(s));
    fputc('"', f);
    for (const char *c = fal_text_str(&safe); *c; c++) {
        if (*c == '"' || *c == '\\') fputc('\\', f);
        fputc(*c, f);
    }
    fputc('"', f);
    fal_text_free(&safe);
}

static void print_dot(const fal_graph *g, FILE *f)
{
    fputs("digraph contracts {\n  rankdir=LR;\n  node [shape=box];\n", f);
    for (int i = 0; i < g->n_nodes; i++) {
        const fal_graph_node *n = &g->nodes[i];
        fputs("  ", f);
        put_dot(f, n->stem);
        fprintf(f, "%s;\n",
                !n->contract      ? " [style=dashed, color=red]"
                : n->circle >= 0  ? " [color=red]"
                : n->n_bound == 0 ? " [style=dashed]"
                                  : "");
        for (int k = 0; k < n->n_edges; k++) {
            const fal_graph_node *to = &g->nodes[n->edges[k]];
            fputs("  ", f);
            put_dot(f, n->stem);
            fputs(" -> ", f);
            put_dot(f, to->stem);
            fprintf(f, "%s;\n", n->circle >= 0 && n->circle == to->circle ? " [color=red]" : "");
        }
    }
    fputs("}\n", f);
}

static json_t *graph_json(const fal_graph *g)
{
    json_t *nodes = json_array(), *edges = json_array(), *circles = json_array();
    for (int i = 0; i < g->n_nodes; i++) {
        const fal_graph_node *n = &g->nodes[i];
        json_array_append_new(nodes, json_pack("{s:o, s:b, s:i, s:i, s:o, s:o}", "contract", fal_json_text(n->stem),
                                               "missing", n->contract == NULL, "bound", n->n_bound, "users", n->n_users,
                                               "kind", fal_json_text(n->contract ? n->contract->kind : NULL), "status",
                                               fal_json_text(n->contract ? n->contract->status : NULL)));
        for (int k = 0; k < n->n_edges; k++)
            json_array_append_new(
                edges, json_pack("[o, o]", fal_json_text(n->stem), fal_json_text(g->nodes[n->edges[k]].stem)));
    }
    for (int c = 0; c < g->n_circles; c++) {
        json_t *members = json_array();
        for (int k = 0; k < g->circle_sizes[c]; k++)
            json_array_append_new(members, fal_json_text(g->nodes[g->circles[c][k]].stem));
        json_array_append_new(circles, members);
    }
    return json_pack("{s:o, s:o, s:o, s:i}", "nodes", nodes, "edges", edges, "circles", circles, "missing",
                     g->n_missing);
}

static fal_status work(const fal_cmd_args *args, const fal_cmd_env *env, fal_error *err)
{
    static const char *const usual[] = { "contracts" };
    fal_contract_set *set = NULL;
    fal_graph *g = NULL;
    fal_diagnoses diag = { 0 }; /* what else is wrong is validate's business */
    fal_error bad = { 0 };
    fal_status st = fal_contract_set_load(args->n_paths ? args->paths : usual, args->n_paths ? args->n_paths : 1, &set,
                                          &diag, &bad);
    fal_diagnoses_free(&diag);
    if (st && st != FAL_ERR_INPUT) {
        *err = bad;
        return st;
    }
    st = fal_graph_make(set, &g, err);
    if (!st && strcmp(args->format, "dot") == 0)
        print_dot(g, env->out);
    else if (!st && strcmp(args->format, "json") == 0)
        st = fal_json_print(graph_json(g), env->out, err);
    else if (!st)
        print_text(g, env->out);
    if (!st && (g->n_circles || g->n_missing))
        st = fal_fail(err, FAL_ERR_INPUT, "'falsify validate' names file and line",
                      "%d circles, %d contracts that are not there", g->n_circles, g->n_missing);
    fal_graph_free(g);
    fal_contract_set_free(set);
    return st;
}

int fal_cmd_graph(int argc, char **argv, const fal_cmd_env *env, fal_error *err)
{
    fal_cmd_args args = { 0 };
    fal_status st = fal_cmd_args_parse(argc, argv, &about, env, &args, err);
    if (!st && args.help)
        fal_cmd_args_help(&about, env->out);
    else if (!st)
        st = work(&args, env, err);
    if (!st) st = fal_cmd_flush(env->out, "graph", err);
    fal_cmd_args_free(&args);
    return fal_exit_status(st);
}
