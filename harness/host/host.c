/* The process that runs a shared object on trial: nothing of the reference is in it, and little of the system is open to it.
   falsify holds this program in itself and starts it as `host SOCKET FILE OP`; what it sends is judged there. */
#include "harness/candidate.h"
#include "harness/host/sandbox.h"
#include "harness/wire.h"

#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

typedef int (*candidate_fn)(const void *args);

typedef struct {
    candidate_fn call;
} host;

static size_t align(size_t at, size_t size)
{
    return (at + size - 1) / size * size;
}

/* The fields in order, each at its natural alignment: how the ABIs of C lay out fal_<op>_args. */
static void make_args(unsigned char *map, const fal_wire_call *c, unsigned char *args)
{
    size_t at = 0;
    for (int i = 0; i < c->n_fields; i++) {
        const fal_wire_field *f = &c->fields[i];
        const bool flag = f->i != 0;
        void *array = f->offset ? map + f->offset : NULL;
        const void *from = f->kind == FAL_FIELD_ARRAY   ? (const void *)&array
                           : f->kind == FAL_FIELD_FLOAT ? (const void *)&f->f
                           : f->kind == FAL_FIELD_BOOL  ? (const void *)&flag
                                                        : (const void *)&f->i;
        const size_t size = f->kind == FAL_FIELD_ARRAY ? sizeof array : f->kind == FAL_FIELD_BOOL ? sizeof flag : 4;
        at = align(at, size);
        memcpy(args + at, from, size);
        at += size;
    }
}

static int run(void *user, unsigned char *map, const fal_wire_call *calls, int n, double *seconds, char *message,
               size_t size)
{
    const host *h = user;
    *seconds = 0;
    for (int i = 0; i < n; i++) {
        union {
            unsigned char bytes[FAL_MAX_FIELDS * 8];
            void *for_alignment;
        } args;
        memset(&args, 0, sizeof args);
        make_args(map, &calls[i], args.bytes);
        const int code = h->call(&args);
        if (code == FAL_CANDIDATE_DONE) continue;
        snprintf(message, size, code == FAL_CANDIDATE_DECLINED ? "declined" : "returned %d", code);
        return code == FAL_CANDIDATE_DECLINED ? FAL_WIRE_DECLINED : FAL_WIRE_FAILED;
    }
    return FAL_WIRE_OK;
}

static int refuse(int socket, const char *what, const char *why)
{
    char text[420];
    snprintf(text, sizeof text, "%s%s%.300s", what, why ? ": " : "", why ? why : "");
    fal_wire_reply(socket, FAL_WIRE_REFUSED, 0, text);
    return 2;
}

static const fal_wire_engine engine = { .run = run, .pages_guarded = true };

int main(int argc, char **argv)
{
    if (argc != 4) return 2;
    const int socket = atoi(argv[1]);
    char name[64];
    host h = { 0 };
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    setrlimit(RLIMIT_CORE, &(const struct rlimit){ 0, 0 });
    if (!fal_sandbox_enter(FAL_SANDBOX_LOADING, socket))
        return refuse(socket, "the system offers no seccomp filter", strerror(errno));
    void *library = dlopen(argv[2], RTLD_NOW | RTLD_LOCAL);
    if (!library) return refuse(socket, "it cannot be loaded", dlerror());
    const int *abi = dlsym(library, "fal_candidate_abi");
    if (!abi) return refuse(socket, "it has no symbol fal_candidate_abi", NULL);
    if (*abi != FAL_CANDIDATE_ABI) {
        snprintf(name, sizeof name, "its fal_candidate_abi is %d, expected %d", *abi, FAL_CANDIDATE_ABI);
        return refuse(socket, name, NULL);
    }
    snprintf(name, sizeof name, "fal_candidate_%.40s", argv[3]);
    void *symbol = dlsym(library, name);
    if (!symbol) return refuse(socket, "it has no function", name);
    memcpy(&h.call, &symbol, sizeof symbol);
    if (!fal_sandbox_enter(FAL_SANDBOX_RUNNING, socket))
        return refuse(socket, "the system offers no seccomp filter", strerror(errno));
    if (!fal_wire_reply(socket, FAL_WIRE_OK, 0, "")) return 1;
    _exit(fal_wire_serve(socket, &engine, &h)); /* without destructors of the candidate */
}
