/* What parent and observer tell each other beside specs: where the observer is, in a page of shared memory that outlives a
   crash; and the digest of the model. */
#ifndef FAL_OBSERVER_PROGRESS_H
#define FAL_OBSERVER_PROGRESS_H

/* The page holds one line of terminated text. Its file descriptor is named in this field of each spec. */
#define FAL_PROGRESS_BYTES 256
#define FAL_PROGRESS_FIELD "progress_fd"

/* The digest of the model, as far as the parent knows it: [device, inode, size, mtime_s, mtime_ns, sha256]. */
#define FAL_KNOWN_FIELD "known_model"

#endif
