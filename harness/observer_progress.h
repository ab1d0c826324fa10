/* How an observer tells its parent where it is: a page of shared memory, which outlives a crash. */
#ifndef FAL_OBSERVER_PROGRESS_H
#define FAL_OBSERVER_PROGRESS_H

/* The page holds one line of terminated text. Its file descriptor is named in this field of each spec. */
#define FAL_PROGRESS_BYTES 256
#define FAL_PROGRESS_FIELD "progress_fd"

#endif
