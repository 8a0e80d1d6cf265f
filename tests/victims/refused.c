/* Holds one thing that cannot be moved, and goes on with it. */
#include "victim.h"
#include <fcntl.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/socket.h>
int main(int argc, char** argv) {
  const char* what = argc > 1 ? argv[1] : "";
  int fd = -1;
  char path[] = "/tmp/victim.XXXXXX";
  if (!strcmp(what, "socket")) fd = socket(AF_INET, SOCK_STREAM, 0);
  if (!strcmp(what, "fifo")) fd = open(argv[2], O_RDWR);
  int pair[2];
  if (!strcmp(what, "empty")) {
    EXPECT(!socketpair(AF_UNIX, SOCK_DGRAM, 0, pair) && send(pair[1], "", 0, 0) == 0);
    fd = pair[0];
  }
  if (!strcmp(what, "inotify")) fd = inotify_init();
  if (!strcmp(what, "lease")) { fd = mkstemp(path); EXPECT(!fcntl(fd, F_SETLEASE, F_WRLCK)); }
  char* shared = MAP_FAILED;
  if (!strcmp(what, "sysv")) {
    int id = shmget(IPC_PRIVATE, 4096, 0600);
    EXPECT(id >= 0);
    shared = shmat(id, NULL, 0);
    EXPECT(shared != MAP_FAILED);
    EXPECT(!shmctl(id, IPC_RMID, NULL));
    shared[0] = 's';
  } else {
    EXPECT(fd == 3);
  }
  ready();
  wait_for_go();
  if (shared != MAP_FAILED) EXPECT(shared[0] == 's');
  else EXPECT(fcntl(fd, F_GETFD) >= 0);
  if (!strcmp(what, "lease")) unlink(path);
  return ok();
}
