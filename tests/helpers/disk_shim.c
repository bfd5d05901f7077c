/* A disk that fails, below one folder, for every library of a process: put between them and libc with LD_PRELOAD.
 *
 *   DISK_FOLDER  below it operations are counted, and each goes to DISK_LOG as "write /path/of/file"
 *   DISK_AT      the one that fails, from 1; none without it
 *   DISK_ERRNO   how; the operation itself is not done
 *   DISK_MORE    if there: closing, rights, removing folders, and what goes by open folders are operations too
 *   DISK_KILL    if there: the process is killed instead, before the operation
 *   DISK_APART   if there: two names cannot be exchanged, as on some file systems
 *   DISK_STAYS   if there: all that follow fail as well, as on a disk that is gone
 *   DISK_SHORT   if there: writes take about two thirds of what they are given, as systems may
 *
 * disk_again() begins to count anew. Closing a file that was written to is an operation: it is closed, and says that it
 * was not, as network disks do. What C's own files write is seen where it is handed over, in fwrite, and never short: there that is an error.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

/* The next function of this name, with the type that the headers give it. */
#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static int calls;

static int below(const char *path) {
  const char *folder = getenv("DISK_FOLDER");
  size_t n = folder ? strlen(folder) : 0;
  return n && !strncmp(path, folder, n) && path[n] == '/';
}

static void note(const char *what, const char *path) {
  char line[PATH_MAX + 16];
  int length = snprintf(line, sizeof line, "%s %s\n", what, path);
  int log = NEXT(open)(getenv("DISK_LOG"), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (log < 0 || NEXT(write)(log, line, length) != length) abort();
  NEXT(close)(log);
}

static int fails(const char *what, const char *path) {
  const char *at = getenv("DISK_AT");
  int n;
  if (!below(path)) return 0;
  n = __sync_add_and_fetch(&calls, 1);
  if (getenv("DISK_LOG")) note(what, path);
  if (!at || n < atoi(at) || (n > atoi(at) && !getenv("DISK_STAYS"))) return 0;
  if (getenv("DISK_KILL")) kill(getpid(), SIGKILL);
  errno = atoi(getenv("DISK_ERRNO"));
  return 1;
}

void disk_again(void) { calls = 0; }

static const char *path_of(int fd, char *path) {
  char link[32];
  ssize_t n;
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  n = readlink(link, path, PATH_MAX - 1);
  path[n < 0 ? 0 : n] = 0;
  return path;
}

static int fd_fails(const char *what, int fd) {
  char path[PATH_MAX];
  return fails(what, path_of(fd, path));
}

/* The same of a name below an open folder. */
static int at_fails(const char *what, int folder, const char *name) {
  char path[PATH_MAX], whole[2 * PATH_MAX];
  if (!getenv("DISK_MORE")) return 0;
  if (folder == AT_FDCWD || name[0] == '/') return fails(what, name);
  snprintf(whole, sizeof whole, "%s/%s", path_of(folder, path), name);
  return fails(what, whole);
}

static size_t taken(int fd, size_t n) {
  char path[PATH_MAX];
  return n > 1 && getenv("DISK_SHORT") && below(path_of(fd, path)) ? n - 1 - n / 3 : n;
}

#define OPEN(name)                                                             \
  int name(const char *path, int flags, ...) {                                 \
    va_list rest;                                                              \
    int mode;                                                                  \
    va_start(rest, flags);                                                     \
    mode = flags & O_CREAT ? va_arg(rest, int) : 0;                            \
    va_end(rest);                                                              \
    if (flags & (O_WRONLY | O_RDWR) && fails("open", path)) return -1;         \
    return NEXT(name)(path, flags, mode);                                      \
  }

#define WRITE(name, ...)                                                       \
  ssize_t name(int fd, const void *data, size_t n __VA_OPT__(, off_t at)) {    \
    if (fd_fails("write", fd)) return -1;                                      \
    return NEXT(name)(fd, data, taken(fd, n) __VA_OPT__(, at));                \
  }

#define ON_FILE(what, name, ...)                                               \
  int name(int fd __VA_OPT__(, off_t size)) {                                  \
    return fd_fails(what, fd) ? -1 : NEXT(name)(fd __VA_OPT__(, size));        \
  }

OPEN(open)
OPEN(open64)
WRITE(write)
WRITE(pwrite, at)
WRITE(pwrite64, at)
ON_FILE("sync", fsync)
ON_FILE("sync", fdatasync)
ON_FILE("truncate", ftruncate, size)
ON_FILE("truncate", ftruncate64, size)

ssize_t writev(int fd, const struct iovec *parts, int n) {
  if (fd_fails("write", fd)) return -1;
  if (n > 0 && getenv("DISK_SHORT")) return NEXT(write)(fd, parts[0].iov_base, taken(fd, parts[0].iov_len));
  return NEXT(writev)(fd, parts, n);
}

size_t fwrite(const void *data, size_t size, size_t n, FILE *file) {
  return fd_fails("write", fileno(file)) ? 0 : NEXT(fwrite)(data, size, n, file);
}

int rename(const char *from, const char *to) { return fails("rename", to) ? -1 : NEXT(rename)(from, to); }

int mkdir(const char *path, mode_t mode) { return fails("mkdir", path) ? -1 : NEXT(mkdir)(path, mode); }

int renameat(int one, const char *from, int other, const char *to) {
  return at_fails("rename", other, to) ? -1 : NEXT(renameat)(one, from, other, to);
}

int renameat2(int one, const char *from, int other, const char *to, unsigned flags) {
  if (at_fails(flags & RENAME_EXCHANGE ? "exchange" : "rename", other, to)) return -1;
  if (flags & RENAME_EXCHANGE && getenv("DISK_APART")) {
    errno = EINVAL;
    return -1;
  }
  return NEXT(renameat2)(one, from, other, to, flags);
}

int close(int fd) {
  int flags = fcntl(fd, F_GETFL), failed = getenv("DISK_MORE") && flags >= 0 && flags & (O_WRONLY | O_RDWR) && fd_fails("close", fd);
  int code = errno, closed = NEXT(close)(fd);
  if (failed) errno = code;
  return failed ? -1 : closed;
}

int chmod(const char *path, mode_t mode) { return at_fails("chmod", AT_FDCWD, path) ? -1 : NEXT(chmod)(path, mode); }

int rmdir(const char *path) { return at_fails("rmdir", AT_FDCWD, path) ? -1 : NEXT(rmdir)(path); }

int unlinkat(int folder, const char *name, int flags) {
  return at_fails(flags & AT_REMOVEDIR ? "rmdir" : "unlink", folder, name) ? -1 : NEXT(unlinkat)(folder, name, flags);
}

int unlink(const char *path) { return fails("unlink", path) ? -1 : NEXT(unlink)(path); }
