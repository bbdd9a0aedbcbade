/* Stands between a process and its file system, and refuses calls that others lack:
   LD_PRELOAD=refusing.so REFUSED="link rename2 symlink" REFUSED_WITH=95 command */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static int refused(const char *call) {
    const char *all = getenv("REFUSED"), *with = getenv("REFUSED_WITH");
    if (!all || !strstr(all, call)) return 0;
    errno = with ? atoi(with) : EOPNOTSUPP;
    return 1;
}

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

int link(const char *a, const char *b);
int linkat(int d, const char *a, int e, const char *b, int flags);
int symlink(const char *a, const char *b);
int symlinkat(const char *a, int d, const char *b);
int renameat2(int d, const char *a, int e, const char *b, unsigned flags);
int rename(const char *a, const char *b);
int fsync(int d);
int flock(int d, int how);
int utimensat(int d, const char *a, const struct timespec t[2], int flags);

int link(const char *a, const char *b) {
    return refused(" link") ? -1 : NEXT(link)(a, b);
}
int linkat(int d, const char *a, int e, const char *b, int flags) {
    return refused(" link") ? -1 : NEXT(linkat)(d, a, e, b, flags);
}
int symlink(const char *a, const char *b) {
    return refused(" symlink") ? -1 : NEXT(symlink)(a, b);
}
int symlinkat(const char *a, int d, const char *b) {
    return refused(" symlink") ? -1 : NEXT(symlinkat)(a, d, b);
}
int renameat2(int d, const char *a, int e, const char *b, unsigned flags) {
    if (!refused(" renameat2")) return NEXT(renameat2)(d, a, e, b, flags);
    errno = EINVAL; /* what the kernel says of flags that a file system does not know */
    return -1;
}
int rename(const char *a, const char *b) {
    return refused(" rename ") ? -1 : NEXT(rename)(a, b);
}
int fsync(int d) {
    struct stat about;
    if (!fstat(d, &about) && S_ISDIR(about.st_mode) && refused(" fsync-folder")) return -1;
    return NEXT(fsync)(d);
}
int flock(int d, int how) {
    return refused(" flock") ? -1 : NEXT(flock)(d, how);
}
int utimensat(int d, const char *a, const struct timespec t[2], int flags) {
    return refused(" utime") ? -1 : NEXT(utimensat)(d, a, t, flags);
}
