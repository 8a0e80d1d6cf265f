/* Open files: offsets, flags, append, shared after dup and fork, directories, devices, close-on-exec. */
#include "victim.h"
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
int main(void) {
  char dir[] = "/tmp/victim.XXXXXX", path[64], cwd[128];
  EXPECT(mkdtemp(dir));
  sprintf(path, "%s/data", dir);
  int rw = open(path, O_RDWR | O_CREAT | O_EXCL | O_TRUNC, 0600);
  EXPECT(rw >= 0 && write(rw, "0123456789", 10) == 10);
  lseek(rw, 3, SEEK_SET);
  int same = dup(rw), high = fcntl(rw, F_DUPFD_CLOEXEC, 500);
  int append = open(path, O_WRONLY | O_APPEND | O_NONBLOCK);
  int other = open(path, O_RDONLY | O_CLOEXEC);
  lseek(other, 7, SEEK_SET);
  int null = open("/dev/null", O_RDWR), zero = open("/dev/zero", O_RDONLY);
  int directory = open(dir, O_RDONLY | O_DIRECTORY);
  EXPECT(!chdir(dir));
  umask(027);
  int p[2], q[2];
  EXPECT(!pipe(p) && !pipe2(q, O_NONBLOCK));
  EXPECT(write(p[1], "in the pipe", 11) == 11);
  fcntl(q[0], F_SETPIPE_SZ, 1 << 18);
  char big[100000];
  for (size_t i = 0; i < sizeof big; i++) big[i] = (char)(i * 7);
  EXPECT(write(q[1], big, sizeof big) == sizeof big);
  pid_t child = fork();
  if (child == 0) {
    char c;
    EXPECT(read(p[0], &c, 1) == 1 && c == 'i'); /* before the move */
    int parent_done[1];
    (void)parent_done;
    while (lseek(rw, 0, SEEK_CUR) != 6) usleep(1000); /* the parent reads after the move */
    EXPECT(write(rw, "X", 1) == 1);
    _exit(7);
  }
  usleep(30000);
  ready();
  wait_for_go();
  char b[128] = {0};
  EXPECT(read(other, b, 100) == 3 && !memcmp(b, "789", 3));
  EXPECT(read(same, b, 3) == 3 && !memcmp(b, "345", 3));
  int status;
  EXPECT(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 7);
  EXPECT(lseek(rw, 0, SEEK_CUR) == 7 && lseek(high, 0, SEEK_CUR) == 7);
  EXPECT(write(append, "!", 1) == 1);
  EXPECT(pread(rw, b, 20, 0) == 11 && !memcmp(b, "012345X789!", 11));
  EXPECT(fcntl(append, F_GETFL) & O_APPEND && fcntl(append, F_GETFL) & O_NONBLOCK);
  EXPECT((fcntl(rw, F_GETFL) & O_ACCMODE) == O_RDWR);
  EXPECT(fcntl(other, F_GETFD) == FD_CLOEXEC && fcntl(high, F_GETFD) == FD_CLOEXEC && fcntl(rw, F_GETFD) == 0);
  EXPECT(write(null, b, 5) == 5 && read(zero, b, 5) == 5 && b[4] == 0);
  struct stat st;
  EXPECT(!fstatat(directory, "data", &st, 0) && st.st_size == 11);
  EXPECT(getcwd(cwd, sizeof cwd) && !strcmp(cwd, dir));
  EXPECT(umask(0) == 027);
  EXPECT(read(p[0], b, 100) == 10 && !memcmp(b, "n the pipe", 10));
  char* back = malloc(sizeof big);
  size_t have = 0;
  for (ssize_t n; have < sizeof big && (n = read(q[0], back + have, sizeof big - have)) > 0;) have += (size_t)n;
  EXPECT(have == sizeof big && !memcmp(back, big, sizeof big));
  EXPECT(read(q[0], b, 1) == -1 && errno == EAGAIN);
  EXPECT(fcntl(q[0], F_GETPIPE_SZ) == 1 << 18);
  EXPECT(fcntl(400, F_GETFD) == -1);
  int fresh = open("/dev/null", O_RDONLY);
  EXPECT(fresh > 2 && fresh < 20); /* nothing foreign is open below */
  EXPECT(!unlink(path) && !chdir("/") && !rmdir(dir));
  return ok();
}
