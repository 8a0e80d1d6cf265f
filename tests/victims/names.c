/* Unix sockets with addresses: a server that listens on a path, with connections of its own child, one on an abstract
 * name, datagram sockets, relative paths, and a connection whose server listens no more. */
#include "victim.h"
#include <sys/random.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
static struct sockaddr_un address;
static socklen_t to(const char* name, int abstract) {
  memset(&address, 0, sizeof address);
  address.sun_family = AF_UNIX;
  strcpy(address.sun_path + abstract, name);
  return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(name) + 1);
}
static int bound(int type, const char* name, int abstract) {
  int fd = socket(AF_UNIX, type, 0);
  socklen_t length = to(name, abstract);
  EXPECT(fd >= 0 && !bind(fd, (struct sockaddr*)&address, length));
  return fd;
}
static int connected(int type, const char* name, int abstract) {
  int fd = socket(AF_UNIX, type, 0);
  socklen_t length = to(name, abstract);
  return fd >= 0 && !connect(fd, (struct sockaddr*)&address, length) ? fd : -1;
}
static int is_named(int fd, int peer, const char* name, int abstract) {
  struct sockaddr_un got;
  socklen_t length = sizeof got;
  memset(&got, 0, sizeof got);
  EXPECT(!(peer ? getpeername : getsockname)(fd, (struct sockaddr*)&got, &length));
  to(name, abstract);
  return !memcmp(got.sun_path, address.sun_path, sizeof got.sun_path);
}
int main(void) {
  char directory[] = "/tmp/victim.XXXXXX", path[64], closing[64], abstract[64], text[64];
  EXPECT(mkdtemp(directory) && !chdir(directory));
  snprintf(path, sizeof path, "%s/server", directory);
  snprintf(closing, sizeof closing, "%s/closing", directory);
  unsigned long mine;
  EXPECT(getrandom(&mine, sizeof mine, 0) == sizeof mine); /* many of us run at a time, all as process 2 */
  snprintf(abstract, sizeof abstract, "victim.%lx", mine);
  int server = bound(SOCK_STREAM, path, 0), plain = socket(AF_UNIX, SOCK_STREAM, 0);
  EXPECT(!listen(server, 3) && !chmod(path, 0640) && plain >= 0);
  int hidden = bound(SOCK_SEQPACKET, abstract, 1), relative = bound(SOCK_STREAM, "relative", 0);
  EXPECT(!listen(hidden, 5) && !listen(relative, 1));
  int mail = bound(SOCK_DGRAM, "mail", 0), stranger = socket(AF_UNIX, SOCK_DGRAM, 0);
  int once = bound(SOCK_STREAM, closing, 0), client = -1;
  EXPECT(stranger >= 0 && !listen(once, 1));
  EXPECT((client = connected(SOCK_STREAM, closing, 0)) >= 0);
  int last = accept(once, NULL, NULL);
  EXPECT(last >= 0 && !close(once) && !unlink(closing));
  EXPECT(write(last, "last", 4) == 4);

  int hold[2];
  EXPECT(!pipe(hold));
  pid_t child = fork();
  if (child == 0) {
    char c;
    int up = connected(SOCK_STREAM, path, 0);
    if (up < 0 || write(up, "hello", 5) != 5) _exit(2);
    if (read(hold[0], &c, 1) != 1) _exit(3);
    if (!is_named(up, 1, path, 0) || read(up, &c, 1) != 1 || c != 'a') _exit(4);
    int again = connected(SOCK_STREAM, path, 0), other = connected(SOCK_SEQPACKET, abstract, 1);
    if (again < 0 || other < 0 || write(again, "again", 5) != 5 || write(other, "other", 5) != 5) _exit(5);
    if (chdir("/")) _exit(6);
    _exit(0);
  }
  int accepted = accept(server, NULL, NULL);
  EXPECT(accepted >= 0);
  ready();
  wait_for_go();
  struct stat st;
  EXPECT(!stat(path, &st) && S_ISSOCK(st.st_mode) && (st.st_mode & 0777) == 0640);
  EXPECT(is_named(server, 0, path, 0) && is_named(accepted, 0, path, 0) && is_named(hidden, 0, abstract, 1));
  EXPECT(is_named(relative, 0, "relative", 0) && is_named(mail, 0, "mail", 0));
  EXPECT(is_named(client, 1, closing, 0) && is_named(last, 0, closing, 0) && stat(closing, &st) == -1);
  EXPECT(read(client, text, 64) == 4 && !memcmp(text, "last", 4));
  EXPECT(read(accepted, text, 64) == 5 && !memcmp(text, "hello", 5) && write(accepted, "a", 1) == 1);
  EXPECT(write(hold[1], "g", 1) == 1);
  int fresh = accept(server, NULL, NULL), packets = accept(hidden, NULL, NULL);
  EXPECT(fresh >= 0 && read(fresh, text, 64) == 5 && !memcmp(text, "again", 5));
  EXPECT(packets >= 0 && read(packets, text, 64) == 5 && !memcmp(text, "other", 5));
  struct ucred who;
  socklen_t size = sizeof who;
  EXPECT(!getsockopt(fresh, SOL_SOCKET, SO_PEERCRED, &who, &size) && who.uid == getuid() && who.pid == child);
  int near = connected(SOCK_STREAM, "relative", 0);
  EXPECT(near >= 0 && (fresh = accept(relative, NULL, NULL)) >= 0);
  EXPECT(!getsockopt(near, SOL_SOCKET, SO_PEERCRED, &who, &size) && who.uid == getuid() && who.pid == getpid());
  socklen_t length = to("mail", 0);
  EXPECT(sendto(stranger, "letter", 6, 0, (struct sockaddr*)&address, length) == 6 && read(mail, text, 64) == 6);
  length = to("relative", 0);
  EXPECT(!connect(plain, (struct sockaddr*)&address, length));
  int status;
  EXPECT(waitpid(child, &status, 0) == child && status == 0);
  EXPECT(!unlink("server") && !unlink("relative") && !unlink("mail") && !chdir("/") && !rmdir(directory));
  return ok();
}
