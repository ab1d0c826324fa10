/* The process that runs a candidate's device code: hands the file to the backend whose devices it is for. */
#include "harness/candidate_parts.h"

#include "cuda/candidate.h"
#include "opencl/candidate.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>

/* observe --host SOCKET BACKEND FILE OP DEVICE */
int fal_candidate_serve(int argc, char **argv)
{
    if (argc != 7) return 2;
    const int socket = atoi(argv[2]);
    size_t n = 0;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    setrlimit(RLIMIT_CORE, &(const struct rlimit){ 0, 0 });
    signal(SIGINT, SIG_IGN); /* whoever started this ends it */
    char *code = fal_candidate_read(argv[4], &n);
    if (!code) {
        fal_wire_reply(socket, FAL_WIRE_REFUSED, 0, "it cannot be read");
        return 3;
    }
    const int status = strcmp(argv[3], "cuda") == 0 ? fal_cu_candidate_serve(socket, argv[6], code, n, argv[5])
                                                    : fal_cl_candidate_serve(socket, argv[6], code, n, argv[5]);
    free(code);
    return status;
}
