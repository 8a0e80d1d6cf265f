/* TCP and UDP over loopback, both ends ours: servers that listen, connections with bytes both ways, with more than the
 * receiver has room for, half closed, closed, ended, broken; a child that waits in accept and one that waits in recv. */
#include "victim.h"
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
union name {
  struct sockaddr any;
  struct sockaddr_in v4;
  struct sockaddr_in6 v6;
};
static socklen_t size_of(const union name* n) { return n->any.sa_family == AF_INET ? sizeof n->v4 : sizeof n->v6; }
static union name loopback(int family, in_port_t port) {
  union name n;
  memset(&n, 0, sizeof n);
  n.any.sa_family = (sa_family_t)family;
  if (family == AF_INET) {
    n.v4.sin_port = port;
    n.v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  } else {
    n.v6.sin6_port = port;
    n.v6.sin6_addr = in6addr_loopback;
  }
  return n;
}
static union name name_of(int fd, int peer) {
  union name n;
  socklen_t size = sizeof n;
  memset(&n, 0, sizeof n);
  EXPECT(!(peer ? getpeername : getsockname)(fd, &n.any, &size));
  return n;
}
static in_port_t port_of(int fd) {
  union name n = name_of(fd, 0);
  return n.any.sa_family == AF_INET ? n.v4.sin_port : n.v6.sin6_port;
}
static int server(union name n) {
  int fd = socket(n.any.sa_family, SOCK_STREAM, 0);
  EXPECT(fd >= 0 && !bind(fd, &n.any, size_of(&n)) && !listen(fd, 7));
  return fd;
}
static void pair(int listener, int family, int out[2]) {
  union name n = loopback(family, port_of(listener));
  EXPECT((out[0] = socket(family, SOCK_STREAM, 0)) >= 0 && !connect(out[0], &n.any, size_of(&n)));
  EXPECT((out[1] = accept(listener, NULL, NULL)) >= 0);
}
static int number(int fd, int level, int option) {
  int value = -1;
  socklen_t size = sizeof value;
  EXPECT(!getsockopt(fd, level, option, &value, &size));
  return value;
}
static void set(int fd, int level, int option, int value) { EXPECT(!setsockopt(fd, level, option, &value, sizeof value)); }
static size_t stuff(int fd) {
  unsigned char block[8191];
  size_t done = 0;
  EXPECT(!fcntl(fd, F_SETFL, O_NONBLOCK));
  for (;;) {
    for (size_t i = 0; i < sizeof block; i++) block[i] = (unsigned char)((done + i) * 31 + ((done + i) >> 13));
    ssize_t n = write(fd, block, sizeof block);
    if (n < 0) break;
    done += (size_t)n;
  }
  EXPECT(errno == EAGAIN);
  return done;
}
static int drained(int fd, size_t all) {
  unsigned char block[10000];
  for (size_t done = 0; done < all;) {
    ssize_t n = read(fd, block, sizeof block);
    if (n <= 0) return 0;
    for (size_t i = 0; i < (size_t)n; i++)
      if (block[i] != (unsigned char)((done + i) * 31 + ((done + i) >> 13))) return 0;
    done += (size_t)n;
  }
  return 1;
}
static int reads(int fd, const char* text) {
  char got[64];
  size_t all = strlen(text), done = 0;
  while (done < all) {
    ssize_t n = read(fd, got + done, all - done);
    if (n <= 0) return 0;
    done += (size_t)n;
  }
  return !memcmp(got, text, all);
}
static int writes(int fd, const char* text) { return write(fd, text, strlen(text)) == (ssize_t)strlen(text); }
static int gone(int fd) { return send(fd, "x", 1, MSG_NOSIGNAL) == -1 && errno == EPIPE; }
static int same(union name a, union name b) { return !memcmp(&a, &b, sizeof a); }

int main(int argc, char** argv) {
  union name everywhere;
  memset(&everywhere, 0, sizeof everywhere);
  everywhere.v6.sin6_family = AF_INET6;
  int four = server(loopback(AF_INET, 0)), six = server(loopback(AF_INET6, 0)), both = server(everywhere);
  everywhere.any.sa_family = AF_INET;
  everywhere.v4.sin_port = htons((in_port_t)(argc > 1 ? atoi(argv[1]) : 0)); /* our caller knows that it is free */
  int all = server(everywhere);
  in_port_t ports[] = {port_of(four), port_of(six), port_of(both), port_of(all)};
  int plain = socket(AF_INET, SOCK_STREAM, 0), only = socket(AF_INET6, SOCK_STREAM, 0);
  EXPECT(plain >= 0 && only >= 0);
  set(only, IPPROTO_IPV6, IPV6_V6ONLY, 1);

  int a[2], b[2], c[2], d[2], half[2], closed[2], ended[2], more[2], broken[2], full[2], back[2];
  pair(four, AF_INET, a);
  pair(six, AF_INET6, b);
  pair(both, AF_INET, c);
  pair(all, AF_INET, d);
  pair(four, AF_INET, half);
  pair(six, AF_INET6, closed);
  pair(four, AF_INET, ended);
  pair(four, AF_INET, broken);
  pair(four, AF_INET, more);
  pair(both, AF_INET6, full);
  pair(four, AF_INET, back);
  union name names[] = {name_of(a[0], 0), name_of(a[0], 1), name_of(b[1], 0), name_of(b[1], 1), name_of(c[1], 1)};
  EXPECT(writes(a[0], "to the server") && writes(a[1], "to the client"));
  EXPECT(writes(b[0], "six") && writes(c[0], "mapped") && writes(c[1], "mapped, too") && writes(d[1], "d"));
  EXPECT(writes(half[0], "last words") && !shutdown(half[0], SHUT_WR));
  EXPECT(writes(closed[1], "farewell") && !close(closed[1]));
  EXPECT(writes(ended[0], "rest") && !shutdown(ended[0], SHUT_RDWR) && !shutdown(ended[1], SHUT_RDWR));
  EXPECT(writes(more[0], "more") && !shutdown(more[0], SHUT_RDWR) && !shutdown(more[1], SHUT_RDWR));
  struct linger hard = {1, 0};
  EXPECT(!setsockopt(broken[1], SOL_SOCKET, SO_LINGER, &hard, sizeof hard) && !close(broken[1]));
  size_t stuffed = stuff(full[0]), stuffed_back = stuff(full[1]);
  EXPECT(stuffed > 100000 && !fcntl(full[1], F_SETFL, 0) && !fcntl(full[0], F_SETFL, 0));
  set(back[1], SOL_SOCKET, SO_RCVBUF, 20000);
  size_t little = stuff(back[0]);
  EXPECT(!shutdown(back[0], SHUT_WR)); /* behind what there is no room for */

  set(a[0], IPPROTO_TCP, TCP_NODELAY, 1);
  set(a[0], SOL_SOCKET, SO_KEEPALIVE, 1);
  set(a[0], IPPROTO_TCP, TCP_KEEPIDLE, 77);
  set(a[1], SOL_SOCKET, SO_REUSEADDR, 1);
  set(a[1], SOL_SOCKET, SO_SNDBUF, 50000);
  struct timeval patience = {3, 0};
  EXPECT(!setsockopt(a[1], SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience));
  int room = number(a[1], SOL_SOCKET, SO_SNDBUF), small = number(back[1], SOL_SOCKET, SO_RCVBUF);

  union name near = loopback(AF_INET, 0);
  int mail = socket(AF_INET, SOCK_DGRAM, 0), letter = socket(AF_INET, SOCK_DGRAM, 0), blank = socket(AF_INET6, SOCK_DGRAM, 0);
  EXPECT(mail >= 0 && letter >= 0 && blank >= 0 && !bind(mail, &near.any, size_of(&near)));
  union name box = name_of(mail, 0);
  EXPECT(!connect(letter, &box.any, size_of(&box)));
  union name sender = name_of(letter, 0);

  int poller = epoll_create1(0);
  struct epoll_event event = {.events = EPOLLIN, .data = {.u64 = 4711}};
  EXPECT(poller >= 0 && !epoll_ctl(poller, EPOLL_CTL_ADD, d[1], &event));
  pid_t accepts = fork();
  if (accepts == 0) {
    int fresh = accept(all, NULL, NULL);
    _exit(fresh < 0 || !reads(fresh, "hello") || !writes(fresh, "you"));
  }
  pid_t receives = fork();
  if (receives == 0) _exit(!reads(b[0], "wake up"));
  ready();
  wait_for_go();

  EXPECT(port_of(four) == ports[0] && port_of(six) == ports[1] && port_of(both) == ports[2] && port_of(all) == ports[3]);
  EXPECT(same(names[0], name_of(a[0], 0)) && same(names[1], name_of(a[0], 1)));
  EXPECT(same(names[2], name_of(b[1], 0)) && same(names[3], name_of(b[1], 1)) && same(names[4], name_of(c[1], 1)));
  EXPECT(number(a[0], IPPROTO_TCP, TCP_NODELAY) == 1 && number(a[1], IPPROTO_TCP, TCP_NODELAY) == 0);
  EXPECT(number(a[0], SOL_SOCKET, SO_KEEPALIVE) == 1 && number(a[0], IPPROTO_TCP, TCP_KEEPIDLE) == 77);
  EXPECT(number(a[1], SOL_SOCKET, SO_REUSEADDR) == 1 && number(a[0], SOL_SOCKET, SO_REUSEADDR) == 0);
  EXPECT(number(four, SOL_SOCKET, SO_REUSEADDR) == 0 && number(four, SOL_SOCKET, SO_ACCEPTCONN) == 1);
  EXPECT(number(a[1], SOL_SOCKET, SO_SNDBUF) == room && number(back[1], SOL_SOCKET, SO_RCVBUF) == small);
  EXPECT(number(only, IPPROTO_IPV6, IPV6_V6ONLY) == 1 && number(both, IPPROTO_IPV6, IPV6_V6ONLY) == 0);
  socklen_t size = sizeof patience;
  EXPECT(!getsockopt(a[1], SOL_SOCKET, SO_RCVTIMEO, &patience, &size) && patience.tv_sec == 3);

  EXPECT(reads(a[1], "to the server") && reads(a[0], "to the client"));
  EXPECT(writes(a[0], "again") && reads(a[1], "again") && writes(a[1], "and back") && reads(a[0], "and back"));
  EXPECT(reads(b[1], "six") && reads(c[1], "mapped") && reads(c[0], "mapped, too"));
  EXPECT(epoll_wait(poller, &event, 1, 0) == 0 && reads(d[0], "d") && writes(d[0], "x"));
  EXPECT(epoll_wait(poller, &event, 1, 5000) == 1 && event.data.u64 == 4711 && reads(d[1], "x"));
  char rest;
  EXPECT(reads(half[1], "last words") && read(half[1], &rest, 1) == 0 && gone(half[0]));
  EXPECT(writes(half[1], "heard") && reads(half[0], "heard"));
  EXPECT(reads(closed[0], "farewell") && read(closed[0], &rest, 1) == 0);
  EXPECT(reads(ended[1], "rest") && read(ended[1], &rest, 1) == 0 && gone(ended[1]) && gone(ended[0]));
  EXPECT(reads(more[1], "more") && read(more[1], &rest, 1) == 0 && gone(more[1]) && gone(more[0]));
  EXPECT(read(broken[0], &rest, 1) == -1 && errno == ECONNRESET && read(broken[0], &rest, 1) == 0 && gone(broken[0]));
  EXPECT(drained(full[1], stuffed) && drained(full[0], stuffed_back));
  EXPECT(writes(full[0], "on") && reads(full[1], "on"));
  EXPECT(drained(back[1], little) && read(back[1], &rest, 1) == 0 && writes(back[1], "thanks"));
  EXPECT(!fcntl(back[0], F_SETFL, 0) && reads(back[0], "thanks"));

  EXPECT(same(box, name_of(letter, 1)) && same(sender, name_of(letter, 0)) && writes(letter, "dear"));
  char text[8];
  union name from;
  size = sizeof from;
  memset(&from, 0, sizeof from);
  EXPECT(recvfrom(mail, text, sizeof text, 0, &from.any, &size) == 4 && same(from, sender));
  EXPECT(sendto(mail, "yes", 3, 0, &from.any, size) == 3 && recv(letter, text, sizeof text, 0) == 3);

  EXPECT(writes(b[1], "wake up"));
  union name at = loopback(AF_INET, ports[3]);
  EXPECT(!connect(plain, &at.any, size_of(&at)) && writes(plain, "hello") && reads(plain, "you"));
  at = loopback(AF_INET6, ports[1]);
  EXPECT(!connect(only, &at.any, size_of(&at)));
  int status;
  EXPECT(waitpid(accepts, &status, 0) == accepts && status == 0);
  EXPECT(waitpid(receives, &status, 0) == receives && status == 0);
  return ok();
}
