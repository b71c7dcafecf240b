/* A disk that fails once, for LD_PRELOAD: counts what a process does to files below a folder.

   Counted are write, pwrite, writev, fsync, fdatasync, rename and the making of files and folders.
   `arm(folder, count, kind)` lets operation `count` (from 1; 0: none) fail with ENOSPC, as all
   after it do (kind 0: a full disk), with EIO (1), or kills the process in its place (2). */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static char root[PATH_MAX];
static char what[PATH_MAX + 32]; /* the operation that failed */
static atomic_long count;
static long fatal;
static int kind;

void arm(const char *folder, long number, int how) {
  atomic_store(&count, 0);
  fatal = number;
  kind = how;
  strncpy(root, folder, sizeof root - 1);
}

long counted(void) { return atomic_load(&count); }

const char *failed(void) { return what; }

static int below(const char *path) {
  return root[0] && path && strncmp(path, root, strlen(root)) == 0;
}

static int path_of(int fd, char *path) {
  char link[64];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, path, PATH_MAX - 1);
  if (length < 0) return 0;
  path[length] = 0;
  return 1;
}

/* Tell if this operation is to fail. */
static int fails(const char *name, const char *path) {
  long number = atomic_fetch_add(&count, 1) + 1;
  if (!fatal || number < fatal || (number > fatal && kind != 0)) return 0;
  if (number == fatal) {
    snprintf(what, sizeof what, "%s %s\n", name, path);
    int saved = errno;
    char *told = getenv("FAILING_DISK_TOLD");
    int fd = told ? open(told, O_WRONLY | O_CREAT | O_TRUNC, 0644) : -1;
    if (fd >= 0) {
      ssize_t ignored = write(fd, what, strlen(what));
      (void)ignored;
      close(fd);
    }
    errno = saved;
    if (kind == 2) raise(SIGKILL);
  }
  errno = kind == 0 ? ENOSPC : EIO;
  return 1;
}

static int fd_fails(const char *name, int fd) {
  if (!root[0]) return 0;
  char path[PATH_MAX];
  return path_of(fd, path) && below(path) && fails(name, path);
}

#define REAL(type, name, ...) \
  static type (*real)(__VA_ARGS__); \
  if (!real) real = (type(*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)

ssize_t write(int fd, const void *data, size_t size) {
  REAL(ssize_t, "write", int, const void *, size_t);
  return fd_fails("write", fd) ? -1 : real(fd, data, size);
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t at) {
  REAL(ssize_t, "pwrite", int, const void *, size_t, off_t);
  return fd_fails("pwrite", fd) ? -1 : real(fd, data, size, at);
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) {
  REAL(ssize_t, "pwrite64", int, const void *, size_t, off64_t);
  return fd_fails("pwrite", fd) ? -1 : real(fd, data, size, at);
}

ssize_t writev(int fd, const struct iovec *parts, int number) {
  REAL(ssize_t, "writev", int, const struct iovec *, int);
  return fd_fails("writev", fd) ? -1 : real(fd, parts, number);
}

int fsync(int fd) {
  REAL(int, "fsync", int);
  return fd_fails("fsync", fd) ? -1 : real(fd);
}

int fdatasync(int fd) {
  REAL(int, "fdatasync", int);
  return fd_fails("fdatasync", fd) ? -1 : real(fd);
}

int rename(const char *from, const char *to) {
  REAL(int, "rename", const char *, const char *);
  return below(to) && fails("rename", to) ? -1 : real(from, to);
}

int renameat(int there, const char *from, int here, const char *to) {
  REAL(int, "renameat", int, const char *, int, const char *);
  return below(to) && fails("rename", to) ? -1 : real(there, from, here, to);
}

int renameat2(int there, const char *from, int here, const char *to, unsigned flags) {
  REAL(int, "renameat2", int, const char *, int, const char *, unsigned);
  return below(to) && fails("rename", to) ? -1 : real(there, from, here, to, flags);
}

int mkdir(const char *path, mode_t mode) {
  REAL(int, "mkdir", const char *, mode_t);
  return below(path) && access(path, F_OK) && fails("mkdir", path) ? -1 : real(path, mode);
}

#define OPENS(name) \
  int name(const char *path, int flags, ...) { \
    va_list more; \
    va_start(more, flags); \
    mode_t mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(more, mode_t) : 0; \
    va_end(more); \
    REAL(int, #name, const char *, int, ...); \
    if (flags & O_CREAT && below(path) && access(path, F_OK) && fails("create", path)) return -1; \
    return real(path, flags, mode); \
  }

OPENS(open)
OPENS(open64)

#define OPENS_AT(name) \
  int name(int there, const char *path, int flags, ...) { \
    va_list more; \
    va_start(more, flags); \
    mode_t mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(more, mode_t) : 0; \
    va_end(more); \
    REAL(int, #name, int, const char *, int, ...); \
    if (flags & O_CREAT && below(path) && access(path, F_OK) && fails("create", path)) return -1; \
    return real(there, path, flags, mode); \
  }

OPENS_AT(openat)
OPENS_AT(openat64)

FILE *fopen(const char *path, const char *mode) {
  REAL(FILE *, "fopen", const char *, const char *);
  if (mode[0] != 'r' && below(path) && access(path, F_OK) && fails("create", path)) return 0;
  return real(path, mode);
}
