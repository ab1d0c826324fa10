/* The sandbox of a shared object on trial: capabilities dropped, system calls filtered by seccomp. */
#include "harness/host/sandbox.h"

#include "harness/wire.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifdef __x86_64__
#include <linux/audit.h>
#define ARCH AUDIT_ARCH_X86_64
#elif defined __aarch64__
#include <linux/audit.h>
#define ARCH AUDIT_ARCH_AARCH64
#endif

static int answer_to = -1;

static const char *name_of(int call)
{
    switch (call) {
#ifdef SYS_fork
    case SYS_fork: return "fork";
    case SYS_vfork: return "vfork";
#endif
    case SYS_clone: return "fork (clone)";
    case SYS_execve: return "execve";
    case SYS_execveat: return "execveat";
    case SYS_ptrace: return "ptrace";
    case SYS_process_vm_readv: return "process_vm_readv";
    case SYS_process_vm_writev: return "process_vm_writev";
    case SYS_socket: return "socket";
    case SYS_socketpair: return "socketpair";
    case SYS_kill: return "kill";
    case SYS_rt_sigaction: return "a handler for SIGSYS";
    }
    return "a forbidden one";
}

/* Also for libraries that block every signal, as system() does: then the kernel ends the process without asking us. */
static void on_forbidden(int signal, siginfo_t *info, void *context)
{
    char text[120];
    (void)signal;
    (void)context;
    snprintf(text, sizeof text, "made a system call that a candidate may not make: %s (%d)", name_of(info->si_syscall),
             info->si_syscall);
    fal_wire_reply(answer_to, FAL_WIRE_FORBIDDEN, 0, text);
    _exit(3);
}

static bool drop_capabilities(void)
{
    struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
    struct __user_cap_data_struct none[2] = { { 0 } };
    return syscall(SYS_capset, &header, none) == 0;
}

#define LOAD(field)  BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define RETURN(what) BPF_STMT(BPF_RET | BPF_K, what)
/* When the loaded value is v, the next statement; else the one after it. */
#define WHEN(v) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, v, 0, 1)
/* n statements, of which the last returns, for this call alone. */
#define UNLESS(call, n)  BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call, 0, n)
#define ANY_BIT(bits)    BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, bits, 0, 1)
#define WRITES           (O_WRONLY | O_RDWR | O_CREAT | O_TRUNC)
#define FORBID(call)     WHEN(call), RETURN(SECCOMP_RET_TRAP)
#define FAIL(call, code) WHEN(call), RETURN(SECCOMP_RET_ERRNO | (code))

bool fal_sandbox_enter(fal_sandbox_stage stage, int socket)
{
#ifndef ARCH
    (void)stage;
    (void)socket;
    errno = ENOSYS;
    return false;
#else
    static const struct sock_filter loading[] = {
        LOAD(arch),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ARCH, 1, 0),
        RETURN(SECCOMP_RET_KILL_PROCESS),
        LOAD(nr),
#ifdef __x86_64__
        BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, 0x40000000, 0, 1),
        RETURN(SECCOMP_RET_KILL_PROCESS), /* x32 */
        FORBID(SYS_fork),
        FORBID(SYS_vfork),
#endif
        FORBID(SYS_execve),
        FORBID(SYS_execveat),
        FORBID(SYS_ptrace),
        FORBID(SYS_process_vm_readv),
        FORBID(SYS_process_vm_writev),
        FORBID(SYS_socket),
        FORBID(SYS_socketpair),
        FORBID(SYS_kill),
        FAIL(SYS_clone3, ENOSYS), /* its flags cannot be looked at; libraries then take clone */
        FAIL(SYS_pidfd_open, EPERM),
        FAIL(SYS_pidfd_getfd, EPERM),
        FAIL(SYS_io_uring_setup, EPERM),
        FAIL(SYS_bpf, EPERM),
        FAIL(SYS_userfaultfd, EPERM),
        FAIL(SYS_prctl, EPERM),
        FAIL(SYS_unshare, EPERM),
        FAIL(SYS_setns, EPERM),
        FAIL(SYS_mount, EPERM),
        FAIL(SYS_shmget, EPERM),
        FAIL(SYS_msgget, EPERM),
        FAIL(SYS_tkill, EPERM),
        FAIL(SYS_openat2, EPERM),
        FAIL(SYS_unlinkat, EPERM),
        FAIL(SYS_renameat2, EPERM),
        FAIL(SYS_renameat, EPERM),
        FAIL(SYS_truncate, EPERM),
        FAIL(SYS_linkat, EPERM),
        FAIL(SYS_symlinkat, EPERM),
        FAIL(SYS_mkdirat, EPERM),
        FAIL(SYS_mknodat, EPERM),
        FAIL(SYS_fchmodat, EPERM),
        FAIL(SYS_fchownat, EPERM),
#ifdef __x86_64__
        FAIL(SYS_creat, EPERM),
        FAIL(SYS_unlink, EPERM),
        FAIL(SYS_rename, EPERM),
        FAIL(SYS_link, EPERM),
        FAIL(SYS_symlink, EPERM),
        FAIL(SYS_mkdir, EPERM),
        FAIL(SYS_rmdir, EPERM),
        FAIL(SYS_mknod, EPERM),
        FAIL(SYS_chmod, EPERM),
        FAIL(SYS_chown, EPERM),
        FAIL(SYS_lchown, EPERM),
        UNLESS(SYS_open, 4),
        LOAD(args[1]),
        ANY_BIT(WRITES),
        RETURN(SECCOMP_RET_ERRNO | EACCES),
        RETURN(SECCOMP_RET_ALLOW),
#endif
        UNLESS(SYS_openat, 4),
        LOAD(args[2]),
        ANY_BIT(WRITES),
        RETURN(SECCOMP_RET_ERRNO | EACCES),
        RETURN(SECCOMP_RET_ALLOW),
        UNLESS(SYS_rt_sigaction, 4),
        LOAD(args[0]),
        WHEN(SIGSYS),
        RETURN(SECCOMP_RET_TRAP),
        RETURN(SECCOMP_RET_ALLOW),
        UNLESS(SYS_clone, 4),
        LOAD(args[0]),
        ANY_BIT(CLONE_THREAD),
        RETURN(SECCOMP_RET_ALLOW),
        RETURN(SECCOMP_RET_TRAP),
        RETURN(SECCOMP_RET_ALLOW),
    };
    static const struct sock_filter running[] = {
        LOAD(nr),
#ifdef SYS_open
        FAIL(SYS_open, EACCES),
        FAIL(SYS_creat, EACCES),
#endif
        FAIL(SYS_openat, EACCES),
        FAIL(SYS_open_by_handle_at, EACCES),
        FAIL(SYS_memfd_create, EACCES),
        RETURN(SECCOMP_RET_ALLOW),
    };
    if (stage == FAL_SANDBOX_LOADING) {
        answer_to = socket;
        const struct sigaction told = { .sa_sigaction = on_forbidden, .sa_flags = SA_SIGINFO };
        sigaction(SIGSYS, &told, NULL);
        if (!drop_capabilities() || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return false;
        const struct sock_fprog f = { sizeof loading / sizeof *loading, (struct sock_filter *)(uintptr_t)loading };
        return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &f) == 0;
    }
    const struct sock_fprog f = { sizeof running / sizeof *running, (struct sock_filter *)(uintptr_t)running };
    return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &f) == 0;
#endif
}
