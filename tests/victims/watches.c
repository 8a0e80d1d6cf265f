/* inotify: watches of a directory and a file, with numbers that are not the first, one taken back. */
#include "victim.h"
#include <fcntl.h>
#include <limits.h>
#include <sys/inotify.h>
#include <sys/stat.h>
static char buffer[4096] __attribute__((aligned(__alignof__(struct inotify_event))));
static struct inotify_event* next(int fd) {
  EXPECT(read(fd, buffer, sizeof buffer) >= (ssize_t)sizeof(struct inotify_event));
  return (struct inotify_event*)buffer;
}
int main(void) {
  char directory[] = "/tmp/victim.XXXXXX", file[64], inside[64];
  EXPECT(mkdtemp(directory));
  snprintf(file, sizeof file, "%s/file", directory);
  snprintf(inside, sizeof inside, "%s/inside", directory);
  int f = open(file, O_CREAT | O_RDWR, 0600);
  int fd = inotify_init1(IN_NONBLOCK), none = inotify_init1(IN_CLOEXEC);
  EXPECT(f >= 0 && fd >= 0 && none >= 0);
  EXPECT(inotify_add_watch(fd, "/tmp", IN_ONLYDIR | IN_MOVE_SELF) == 1 && inotify_add_watch(fd, "/", IN_MOVE_SELF) == 2);
  EXPECT(!inotify_rm_watch(fd, 1) && next(fd)->mask == IN_IGNORED);
  int d = inotify_add_watch(fd, directory, IN_CREATE | IN_DELETE);
  int w = inotify_add_watch(fd, file, IN_MODIFY | IN_ATTRIB);
  EXPECT(d == 3 && w == 4);
  ready();
  wait_for_go();
  EXPECT(read(fd, buffer, sizeof buffer) == -1 && errno == EAGAIN);
  EXPECT(write(f, "x", 1) == 1);
  struct inotify_event* event = next(fd);
  EXPECT(event->wd == w && event->mask == IN_MODIFY);
  close(open(inside, O_CREAT | O_RDWR, 0600));
  event = next(fd);
  EXPECT(event->wd == d && event->mask == IN_CREATE && !strcmp(event->name, "inside"));
  EXPECT(inotify_add_watch(fd, inside, IN_ALL_EVENTS) == 5 && !inotify_rm_watch(fd, 2));
  EXPECT(next(fd)->wd == 2 && fcntl(none, F_GETFD) == FD_CLOEXEC && inotify_add_watch(none, "/", IN_MOVE_SELF) == 1);
  EXPECT(!unlink(inside) && !unlink(file) && !rmdir(directory));
  return ok();
}
