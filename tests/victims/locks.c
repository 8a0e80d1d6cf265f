/* File locks of the three kinds, for reading and writing, whole and in part, shared after fork and a child's own. */
#include "victim.h"
#include <fcntl.h>
#include <sys/file.h>
#include <sys/wait.h>

static int set(int fd, int command, short type, off_t start, off_t length) {
  struct flock l = {.l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = length};
  return fcntl(fd, command, &l);
}
/* What others would meet there: F_UNLCK, F_RDLCK or F_WRLCK; asked from a process without locks. */
static int met(const char* path, off_t start, off_t length) {
  pid_t asker = fork();
  if (asker == 0) {
    int fd = open(path, O_RDWR);
    struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = start, .l_len = length};
    if (fd < 0 || fcntl(fd, F_OFD_GETLK, &l) < 0) _exit(99);
    _exit(l.l_type);
  }
  int status;
  EXPECT(waitpid(asker, &status, 0) == asker && WIFEXITED(status));
  return WEXITSTATUS(status);
}
static int other_flock(const char* path, int operation) {
  int fd = open(path, O_RDONLY);
  EXPECT(fd >= 0);
  int got = flock(fd, operation | LOCK_NB);
  close(fd);
  return got;
}
static int fresh(char* path) {
  int fd = mkstemp(strcpy(path, "/tmp/victim.XXXXXX"));
  EXPECT(fd >= 0 && write(fd, "0123456789", 10) == 10);
  return fd;
}

/* Holds one lock for writing on a file of somebody's. */
static int hold(const char* path, const char* kind) {
  int fd = open(path, O_RDWR);
  EXPECT(fd >= 0);
  if (!strcmp(kind, "flock")) EXPECT(!flock(fd, LOCK_EX));
  else EXPECT(!set(fd, !strcmp(kind, "ofd") ? F_OFD_SETLK : F_SETLK, F_WRLCK, 0, 0));
  ready();
  wait_for_go();
  if (!strcmp(kind, "flock")) EXPECT(other_flock(path, LOCK_SH) == -1 && errno == EWOULDBLOCK);
  else EXPECT(met(path, 0, 1) == F_WRLCK);
  return ok();
}

int main(int argc, char** argv) {
  if (argc > 2) return hold(argv[1], argv[2]);
  char whole[32], both[32], parts[32], theirs[32], blind[32], ofd[32];
  int f = fresh(whole), shared = fresh(both), p = fresh(parts), c = fresh(theirs), o = fresh(ofd);
  close(fresh(blind));
  int w = open(blind, O_WRONLY);
  EXPECT(!flock(f, LOCK_EX) && !flock(shared, LOCK_SH));
  EXPECT(!set(p, F_SETLK, F_WRLCK, 0, 3) && !set(p, F_SETLK, F_RDLCK, 5, 2) && !set(p, F_SETLK, F_WRLCK, 100, 0));
  EXPECT(!set(o, F_OFD_SETLK, F_WRLCK, 1, 1) && !set(o, F_OFD_SETLK, F_RDLCK, 4, 0));
  EXPECT(w >= 0 && !set(w, F_SETLK, F_WRLCK, 7, 1));
  int same = dup(f);
  int up[2], down[2];
  EXPECT(!pipe(up) && !pipe(down));
  pid_t child = fork();
  if (child == 0) {
    /* a POSIX lock of its own, and one that must wait for ours */
    char go;
    if (set(c, F_SETLK, F_WRLCK, 2, 2)) _exit(2);
    if (write(up[1], "x", 1) != 1) _exit(3);
    if (flock(open(both, O_RDONLY), LOCK_EX)) _exit(4);
    if (read(down[0], &go, 1) != 1) _exit(5);
    /* the description of f is ours, too */
    if (flock(f, LOCK_UN)) _exit(6);
    _exit(0);
  }
  char x;
  EXPECT(read(up[0], &x, 1) == 1);
  ready();
  wait_for_go();

  EXPECT(other_flock(whole, LOCK_SH) == -1 && errno == EWOULDBLOCK);
  EXPECT(other_flock(both, LOCK_EX) == -1 && errno == EWOULDBLOCK && !other_flock(both, LOCK_SH));
  EXPECT(met(parts, 0, 1) == F_WRLCK && met(parts, 2, 1) == F_WRLCK && met(parts, 3, 2) == F_UNLCK);
  EXPECT(met(parts, 5, 1) == F_RDLCK && met(parts, 7, 90) == F_UNLCK && met(parts, 1000, 1) == F_WRLCK);
  EXPECT(met(ofd, 0, 1) == F_UNLCK && met(ofd, 1, 1) == F_WRLCK && met(ofd, 2, 2) == F_UNLCK && met(ofd, 9, 1) == F_RDLCK);
  EXPECT(met(theirs, 2, 1) == F_WRLCK && met(theirs, 0, 2) == F_UNLCK);
  EXPECT(met(blind, 7, 1) == F_WRLCK && met(blind, 6, 1) == F_UNLCK);
  /* Whose they are: a POSIX lock goes when its process closes any descriptor of the file. */
  int again = open(parts, O_RDONLY);
  EXPECT(again >= 0 && !close(again) && met(parts, 0, 0) == F_UNLCK);
  again = open(ofd, O_RDONLY);
  EXPECT(again >= 0 && !close(again) && met(ofd, 1, 1) == F_WRLCK && !close(o) && met(ofd, 1, 1) == F_WRLCK);
  EXPECT(!flock(shared, LOCK_UN));
  EXPECT(!close(same) && other_flock(whole, LOCK_SH) == -1);
  EXPECT(write(down[1], "g", 1) == 1);
  int status;
  EXPECT(waitpid(child, &status, 0) == child && status == 0);
  EXPECT(!other_flock(whole, LOCK_EX) && met(ofd, 1, 1) == F_UNLCK);
  char* all[] = {whole, both, parts, theirs, blind, ofd};
  for (int i = 0; i < 6; i++) unlink(all[i]);
  return ok();
}
