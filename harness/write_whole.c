/* Writing a file so that a reader, or a machine that comes back after a crash, finds the old one or the new one,
   whole. */
#include "harness/evidence.h"
#include "harness/text.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static fal_status write_all(int fd, const char *text, size_t n)
{
    while (n > 0) {
        const ssize_t w = write(fd, text, n);
        if (w < 0 && errno == EINTR) continue;
        if (w <= 0) return FAL_ERR_OUTPUT;
        text += w;
        n -= (size_t)w;
    }
    return FAL_OK;
}

fal_status fal_write_whole(const char *folder, const char *name, const char *text, size_t n, fal_error *err)
{
    if (!*name || strchr(name, '/') || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return fal_fail(err, FAL_ERR_OUTPUT, NULL, "%s: '%s' is no file name", folder, name);
    const char *step = "no memory";
    fal_status st = FAL_ERR_OUTPUT;
    fal_text temp = { 0 };
    int fd = -1;
    fal_text_addf(&temp, ".%s.XXXXXX.tmp", name);
    char *temp_path = NULL, *final_path = NULL;
    const int dir = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0) {
        step = "open";
        goto out;
    }
    errno = ENOMEM;
    if (temp.failed || asprintf(&temp_path, "%s/%s", folder, fal_text_str(&temp)) < 0) {
        temp_path = NULL;
        goto out;
    }
    if (asprintf(&final_path, "%s/%s", folder, name) < 0) {
        final_path = NULL;
        goto out;
    }
    step = "create";
    fd = mkostemps(temp_path, 4, O_CLOEXEC);
    if (fd < 0) {
        free(temp_path);
        temp_path = NULL;
        goto out;
    }
    fchmod(fd, 0644); /* mkostemps made it for the owner alone */
    step = "write";
    if (write_all(fd, text, n) != FAL_OK) goto out;
    step = "fsync";
    if (fsync(fd)) goto out; /* not tried again: after a failed fsync nothing is known about the pages */
    step = "close";
    const int closed = close(fd);
    fd = -1;
    if (closed) goto out;
    step = "rename";
    if (rename(temp_path, final_path)) goto out;
    free(temp_path);
    temp_path = NULL;
    step = "fsync of the folder";
    if (fsync(dir)) goto out;
    st = FAL_OK;
out:
    if (st) fal_fail(err, st, "check space and permissions", "%s/%s: %s: %s", folder, name, step, strerror(errno));
    if (fd >= 0) close(fd);
    if (temp_path) unlink(temp_path);
    if (dir >= 0) close(dir);
    free(temp_path);
    free(final_path);
    fal_text_free(&temp);
    return st;
}

fal_status fal_make_folders(const char *path, fal_error *err)
{
    fal_text t = { 0 };
    fal_text_add(&t, path);
    if (t.failed || !t.data) return fal_fail(err, FAL_ERR_MEMORY, NULL, "no memory for a path");
    fal_status st = FAL_OK;
    for (char *c = t.data + 1; !st; c++) {
        if (*c && *c != '/') continue;
        const char end = *c;
        *c = '\0';
        if (mkdir(t.data, 0777) != 0 && errno != EEXIST)
            st = fal_fail(err, FAL_ERR_OUTPUT, "check --evidence", "%s: the folder cannot be made: %s", t.data,
                          strerror(errno));
        if (!end) break;
        *c = end;
    }
    fal_text_free(&t);
    return st;
}

void fal_remove_folder(const char *path)
{
    DIR *const d = path ? opendir(path) : NULL;
    for (struct dirent *e; d && (e = readdir(d)) != NULL;)
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0) unlinkat(dirfd(d), e->d_name, 0);
    if (d) closedir(d);
    if (path) rmdir(path);
}
