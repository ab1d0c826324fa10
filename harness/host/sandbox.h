/* What a shared object on trial may ask of the system: memory, threads and time, and nothing that reaches others. */
#ifndef FAL_HOST_SANDBOX_H
#define FAL_HOST_SANDBOX_H

#include <stdbool.h>

typedef enum {
    FAL_SANDBOX_LOADING, /* before the candidate is loaded: files may be read */
    FAL_SANDBOX_RUNNING  /* nothing may be opened any more */
} fal_sandbox_stage;

/* what    Gives up every capability for good and asks the kernel to refuse what the stage does not allow. A forbidden call
           that nobody makes by accident (starting a program, a socket, looking into another process) ends the process
           after telling `socket` which it was; opening a file while RUNNING fails with EACCES, since libraries try to.
           Returns false with errno set where the kernel cannot do that. */
bool fal_sandbox_enter(fal_sandbox_stage stage, int socket);

#endif
