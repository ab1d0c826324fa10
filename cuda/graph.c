/* CUDA graphs: launches recorded once and replayed as one. */
#include "cuda/context.h"

#include <stdlib.h>

typedef struct {
    fal_cu_kernel *kernel; /* of the context, which outlives the graph */
    uint64_t n;
} graph_count;

struct fal_cu_graph {
    fal_cu_graph_exec exec;
    graph_count *counts; /* [n_counts] */
    int n_counts, n_kernels;
};

/* For every kernel that was asked for so far. */
#define EACH_KERNEL(ctx, k)                                                                                            \
    for (int p_ = 0; p_ < (ctx)->n_programs; p_++)                                                                     \
        for (fal_cu_kernel *k = (ctx)->programs[p_].kernels; k < (ctx)->programs[p_].kernels + (ctx)->programs[p_].n_kernels; k++)

fal_status fal_cu_graph_begin(fal_context *ctx, fal_error *err)
{
    const fal_cu_result code = ctx->api.cuStreamBeginCapture_v2(ctx->queue, FAL_CU_CAPTURE_MODE_RELAXED);
    if (code != FAL_CU_SUCCESS) return fal_cu_call_failed(&ctx->api, err, "cuStreamBeginCapture", code);
    EACH_KERNEL(ctx, k) k->n_recorded = 0;
    ctx->is_recording = true;
    return FAL_OK;
}

/* What one launch of the graph adds to the counts of launches. */
static fal_status count_recorded(fal_context *ctx, fal_cu_graph *graph, fal_error *err)
{
    int n = 0;
    EACH_KERNEL(ctx, k) n += k->n_recorded > 0;
    graph->counts = calloc((size_t)n + 1, sizeof *graph->counts);
    if (!graph->counts) return fal_fail(err, FAL_ERR_MEMORY, NULL, "cuda: no memory for a graph");
    EACH_KERNEL(ctx, k)
    {
        if (k->n_recorded == 0) continue;
        graph->counts[graph->n_counts++] = (graph_count) { k, k->n_recorded };
        graph->n_kernels += (int)k->n_recorded;
    }
    return FAL_OK;
}

fal_status fal_cu_graph_end(fal_context *ctx, fal_cu_graph **out, fal_error *err)
{
    fal_cu_graph_id recorded = NULL;
    fal_status st = FAL_OK;
    fal_cu_graph *graph = calloc(1, sizeof *graph);
    ctx->is_recording = false;
    fal_cu_result code = ctx->api.cuStreamEndCapture(ctx->queue, &recorded);
    if (!graph) st = fal_fail(err, FAL_ERR_MEMORY, NULL, "cuda: no memory for a graph");
    else if (code != FAL_CU_SUCCESS || !recorded) st = fal_cu_call_failed(&ctx->api, err, "cuStreamEndCapture", code);
    if (st == FAL_OK) st = count_recorded(ctx, graph, err);
    if (st == FAL_OK) {
        code = ctx->api.cuGraphInstantiateWithFlags(&graph->exec, recorded, 0);
        if (code != FAL_CU_SUCCESS) {
            graph->exec = NULL;
            st = fal_cu_call_failed(&ctx->api, err, "cuGraphInstantiate", code);
        }
    }
    if (recorded) ctx->api.cuGraphDestroy(recorded);
    if (st != FAL_OK) fal_cu_graph_free(ctx, graph);
    else *out = graph;
    return st;
}

fal_status fal_cu_graph_launch(fal_context *ctx, fal_cu_graph *graph, fal_error *err)
{
    const fal_cu_result code = ctx->api.cuGraphLaunch(graph->exec, ctx->queue);
    if (code != FAL_CU_SUCCESS) return fal_cu_call_failed(&ctx->api, err, "cuGraphLaunch", code);
    for (int i = 0; i < graph->n_counts; i++) graph->counts[i].kernel->n_launches += graph->counts[i].n;
    return FAL_OK;
}

int fal_cu_graph_kernels(const fal_cu_graph *graph)
{
    return graph->n_kernels;
}

void fal_cu_graph_free(fal_context *ctx, fal_cu_graph *graph)
{
    if (!graph) return;
    if (graph->exec) ctx->api.cuGraphExecDestroy(graph->exec);
    free(graph->counts);
    free(graph);
}
