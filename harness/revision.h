/* What the build writes into the program: the commit it is made from. */
#ifndef FAL_REVISION_H
#define FAL_REVISION_H

extern const char fal_revision[]; /* 12 hex digits, "-dirty" behind them where files differ; or "unknown" */

#endif
