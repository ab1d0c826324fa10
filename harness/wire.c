/* Messages between falsify and the process that runs a candidate. Linked into that process too: needs libc alone. */
#include "harness/wire.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

bool fal_wire_read(int socket, void *to, size_t n, int *fd)
{
    char *p = to;
    if (fd) *fd = -1;
    while (n > 0) {
        union {
            struct cmsghdr header;
            char room[CMSG_SPACE(sizeof(int))];
        } control;
        struct iovec piece = { .iov_base = p, .iov_len = n };
        struct msghdr m = { .msg_iov = &piece,
                            .msg_iovlen = 1,
                            .msg_control = fd ? control.room : NULL,
                            .msg_controllen = fd ? sizeof control.room : 0 };
        const ssize_t got = recvmsg(socket, &m, MSG_CMSG_CLOEXEC);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return false;
        const struct cmsghdr *c = fd && *fd < 0 ? CMSG_FIRSTHDR(&m) : NULL;
        if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS && c->cmsg_len >= CMSG_LEN(sizeof(int)))
            memcpy(fd, CMSG_DATA(c), sizeof *fd);
        p += got;
        n -= (size_t)got;
    }
    return true;
}

bool fal_wire_write(int socket, const void *from, size_t n, int fd)
{
    const char *p = from;
    while (n > 0) {
        union {
            struct cmsghdr header;
            char room[CMSG_SPACE(sizeof(int))];
        } control;
        struct iovec piece = { .iov_base = (void *)(uintptr_t)p, .iov_len = n };
        struct msghdr m = { .msg_iov = &piece, .msg_iovlen = 1 };
        if (fd >= 0) {
            memset(&control, 0, sizeof control);
            m.msg_control = control.room;
            m.msg_controllen = sizeof control.room;
            struct cmsghdr *c = CMSG_FIRSTHDR(&m);
            c->cmsg_level = SOL_SOCKET;
            c->cmsg_type = SCM_RIGHTS;
            c->cmsg_len = CMSG_LEN(sizeof(int));
            memcpy(CMSG_DATA(c), &fd, sizeof fd);
        }
        const ssize_t sent = sendmsg(socket, &m, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR) continue;
        if (sent <= 0) return false;
        fd = -1;
        p += sent;
        n -= (size_t)sent;
    }
    return true;
}

bool fal_wire_reply(int socket, int status, double seconds, const char *message)
{
    fal_wire_answer a = { .magic = FAL_WIRE_MAGIC, .status = status, .seconds = seconds };
    snprintf(a.message, sizeof a.message, "%s", message ? message : "");
    return fal_wire_write(socket, &a, sizeof a, -1);
}

/* Takes the place of what was mapped before; NULL with a message. */
static unsigned char *map_at(int fd, const fal_wire_request *r, char *message, size_t size)
{
    void *p = fd < 0 ? MAP_FAILED
                     : mmap((void *)(uintptr_t)r->base, (size_t)r->size, PROT_READ | PROT_WRITE,
                            MAP_SHARED | MAP_POPULATE | MAP_FIXED_NOREPLACE, fd, 0);
    /* an address that happens to be in use: anywhere else will do */
    if (p == MAP_FAILED && fd >= 0) p = mmap(NULL, (size_t)r->size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (p != MAP_FAILED) return p;
    snprintf(message, size, "the shared memory cannot be mapped: %s", strerror(errno));
    return NULL;
}

/* Reading or writing there ends the process. */
static void close_pages(unsigned char *map, const fal_wire_call *c)
{
    for (int i = 0; i < c->n_fields; i++) {
        const fal_wire_field *f = &c->fields[i];
        if (f->kind != FAL_FIELD_ARRAY || f->offset == 0) continue;
        const uint64_t before = (f->offset - FAL_WIRE_GUARD) / FAL_WIRE_PAGE * FAL_WIRE_PAGE - FAL_WIRE_PAGE;
        const uint64_t behind =
            (f->offset + f->nbytes + FAL_WIRE_GUARD + FAL_WIRE_PAGE - 1) / FAL_WIRE_PAGE * FAL_WIRE_PAGE;
        mprotect(map + before, FAL_WIRE_PAGE, PROT_NONE);
        mprotect(map + behind, FAL_WIRE_PAGE, PROT_NONE);
    }
}

int fal_wire_serve(int socket, const fal_wire_engine *e, void *user)
{
    unsigned char *map = NULL;
    size_t map_size = 0;
    fal_wire_request r;
    fal_wire_call *calls = malloc(FAL_WIRE_MAX_CALLS * sizeof *calls);
    if (!calls) return 1;
    for (int fd; fal_wire_read(socket, &r, sizeof r, &fd);) {
        char message[420] = "";
        int status = FAL_WIRE_OK;
        double seconds = 0;
        const bool bad = r.magic != FAL_WIRE_MAGIC || r.n_calls < 0 || r.n_calls > FAL_WIRE_MAX_CALLS;
        if (bad || !fal_wire_read(socket, calls, (size_t)r.n_calls * sizeof *calls, NULL)) return 1;
        if (r.what == FAL_WIRE_MAP) {
            if (e->unmapped) e->unmapped(user);
            if (map) munmap(map, map_size);
            map = map_at(fd, &r, message, sizeof message);
            map_size = (size_t)r.size;
            if (!map) status = FAL_WIRE_FAILED;
        } else if (!map) {
            status = FAL_WIRE_FAILED;
            snprintf(message, sizeof message, "no memory is mapped");
        } else if (r.what == FAL_WIRE_RUN) {
            status = e->run(user, map, calls, r.n_calls, &seconds, message, sizeof message);
        } else if (r.what == FAL_WIRE_PUT) {
            for (int i = 0; e->pages_guarded && i < r.n_calls; i++) close_pages(map, &calls[i]);
            status = e->put ? e->put(user, map, calls, r.n_calls, message, sizeof message) : FAL_WIRE_OK;
        } else {
            status = e->get ? e->get(user, map, calls, r.n_calls, message, sizeof message) : FAL_WIRE_OK;
        }
        if (fd >= 0) close(fd);
        if (!fal_wire_reply(socket, status, seconds, message)) break;
    }
    if (e->unmapped) e->unmapped(user);
    if (map) munmap(map, map_size);
    free(calls);
    return 0;
}
