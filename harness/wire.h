/* What falsify and the process that runs a candidate say to each other, over a socket and memory that both map. */
#ifndef FAL_WIRE_H
#define FAL_WIRE_H

#include "harness/call.h"

/* A message is a request, for RUN, PUT and GET followed by n_calls calls; for MAP it brings the memory's descriptor. Each is
   answered once. Both sides are builds of the same source: the layout need not last. */
typedef enum {
    FAL_WIRE_MAP, /* map size bytes at base, drop what was mapped before */
    FAL_WIRE_PUT, /* bring the arrays of the calls to the device (nothing to do for a shared object) */
    FAL_WIRE_RUN, /* make the calls, one after another, and wait until all are done */
    FAL_WIRE_GET  /* bring the arrays back */
} fal_wire_what;

typedef struct {
    uint32_t magic;
    int32_t what, n_calls;
    uint64_t base, size;
} fal_wire_request;

/* A field of a call. offset: of the array from the start of the mapping, 0 for one that is left out. Around each array lie
   FAL_WIRE_GUARD bytes that belong to nobody, and around these one page that the candidate may not touch at all. */
typedef struct {
    int32_t kind, i;
    float f;
    int32_t keep; /* PUT and GET leave the array where it is: it is there already, and is looked at later */
    uint64_t offset, nbytes;
    char name[16];
} fal_wire_field;

typedef struct {
    char op[24];
    int32_t n_fields;
    fal_wire_field fields[FAL_MAX_FIELDS];
} fal_wire_call;

typedef struct {
    uint32_t magic;
    int32_t status; /* fal_wire_status */
    double seconds; /* of a RUN, by the clock of the process that made it; told only where that process is ours */
    char message[420];
} fal_wire_answer;

typedef enum {
    FAL_WIRE_OK,
    FAL_WIRE_DECLINED,
    FAL_WIRE_FAILED,
    FAL_WIRE_REFUSED,
    FAL_WIRE_BLOCKED,
    FAL_WIRE_DEVICE,
    FAL_WIRE_FORBIDDEN
} fal_wire_status;

enum { FAL_WIRE_MAGIC = 0x46a15b1d, FAL_WIRE_GUARD = 4096, FAL_WIRE_PAGE = 4096, FAL_WIRE_MAX_CALLS = 512 };

/* ---- the side that runs the candidate ------------------------------------------------------------------------------ */

/* An engine answers for one candidate. Each function returns a fal_wire_status and fills message when that is not OK. */
typedef struct {
    int (*put)(void *user, unsigned char *map, const fal_wire_call *calls, int n, char *message, size_t size);
    int (*run)(void *user, unsigned char *map, const fal_wire_call *calls, int n, double *seconds, char *message,
               size_t size);
    int (*get)(void *user, unsigned char *map, const fal_wire_call *calls, int n, char *message, size_t size);
    void (*unmapped)(void *user); /* what was made for the memory so far is of no use any more; may be NULL */
    bool pages_guarded;           /* make the outer pages of every array inaccessible */
} fal_wire_engine;

/* what    Answers requests until the other side closes the socket. Returns an exit status for the process. */
int fal_wire_serve(int socket, const fal_wire_engine *engine, void *user);
/* what    Sends an answer; false when the other side is gone. */
bool fal_wire_reply(int socket, int status, double seconds, const char *message);

/* ---- both sides ----------------------------------------------------------------------------------------------------- */

/* what    All of n bytes, or false when the other side closed or an error came. fd (may be NULL) takes a descriptor that
           came along, else -1. */
bool fal_wire_read(int socket, void *to, size_t n, int *fd);
bool fal_wire_write(int socket, const void *from, size_t n, int fd);

#endif
