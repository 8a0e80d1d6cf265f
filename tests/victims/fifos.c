/* Named pipes with bytes inside, whose ends are opened in every way; an anonymous one opened for both directions. */
#include "victim.h"
#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/wait.h>
static int events(int fd) {
  struct pollfd p = {.fd = fd, .events = POLLIN | POLLOUT};
  EXPECT(poll(&p, 1, 0) >= 0);
  return p.revents;
}
static char* fifo(char* path, const char* name, const char* directory) {
  snprintf(path, 64, "%s/%s", directory, name);
  EXPECT(!mkfifo(path, 0600));
  return path;
}
int main(void) {
  char directory[] = "/tmp/victim.XXXXXX", both[64], ends[64], alone[64], hung[64], gone[64], place[64];
  EXPECT(mkdtemp(directory));
  int b = open(fifo(both, "both", directory), O_RDWR);
  EXPECT(b >= 0 && write(b, "in both", 7) == 7);
  int r = open(fifo(ends, "ends", directory), O_RDONLY | O_NONBLOCK), w = open(ends, O_WRONLY);
  EXPECT(r >= 0 && w >= 0 && write(w, "on its way", 10) == 10 && fcntl(r, F_SETFL, 0) == 0);
  EXPECT(fcntl(w, F_SETPIPE_SZ, 16384) == 16384);
  /* waits for a first writer; has lost its last */
  int a = open(fifo(alone, "alone", directory), O_RDONLY | O_NONBLOCK);
  int h = open(fifo(hung, "hung", directory), O_RDONLY | O_NONBLOCK), passing = open(hung, O_WRONLY);
  EXPECT(a >= 0 && h >= 0 && write(passing, "left", 4) == 4 && !close(passing));
  EXPECT(events(a) == 0 && events(h) == (POLLIN | POLLHUP));
  int g = open(fifo(gone, "gone", directory), O_RDWR);
  EXPECT(g >= 0 && write(g, "no name", 7) == 7 && !unlink(gone));
  int o = open(fifo(place, "place", directory), O_PATH);
  EXPECT(o >= 0);
  int anonymous[2];
  char name[64];
  EXPECT(!pipe(anonymous));
  snprintf(name, sizeof name, "/proc/self/fd/%d", anonymous[0]);
  int p = open(name, O_RDWR);
  EXPECT(p >= 0 && !close(anonymous[0]) && write(anonymous[1], "mine", 4) == 4);
  pid_t child = fork();
  if (child == 0) {
    char text[16];
    close(w);
    if (read(r, text, 16) != 10 || memcmp(text, "on its way", 10)) _exit(2);
    if (read(r, text, 16) != 6 || memcmp(text, "second", 6)) _exit(3);
    _exit(read(r, text, 16) == 0 ? 0 : 4);
  }
  const int flags = fcntl(w, F_GETFL);
  ready();
  wait_for_go();
  char text[16];
  EXPECT(read(b, text, 16) == 7 && !memcmp(text, "in both", 7) && write(b, "x", 1) == 1 && read(b, text, 16) == 1);
  EXPECT(events(a) == 0 && read(a, text, 1) == 0);
  int first = open(alone, O_WRONLY | O_NONBLOCK);
  EXPECT(first >= 0 && write(first, "at last", 7) == 7 && read(a, text, 16) == 7);
  EXPECT(events(h) == (POLLIN | POLLHUP) && read(h, text, 16) == 4 && !memcmp(text, "left", 4) && read(h, text, 16) == 0);
  EXPECT(fcntl(w, F_GETPIPE_SZ) == 16384 && fcntl(w, F_GETFL) == flags);
  EXPECT(write(w, "second", 6) == 6 && !close(w) && !close(r));
  int status;
  EXPECT(waitpid(child, &status, 0) == child && status == 0);
  EXPECT(read(g, text, 16) == 7 && !memcmp(text, "no name", 7));
  struct stat st;
  EXPECT(!fstat(o, &st) && S_ISFIFO(st.st_mode) && read(o, text, 1) == -1 && errno == EBADF);
  EXPECT(read(p, text, 16) == 4 && !memcmp(text, "mine", 4) && write(p, "again", 5) == 5 && read(p, text, 16) == 5);
  char* all[] = {both, ends, alone, hung, place};
  for (int i = 0; i < 5; i++) EXPECT(!unlink(all[i]));
  EXPECT(!rmdir(directory));
  return ok();
}
