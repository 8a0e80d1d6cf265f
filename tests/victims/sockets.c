/* Pairs of unix sockets: streams and messages with bytes inside, one end in a child, one end closed, one shut down. */
#include "victim.h"
#include <poll.h>
#include <sys/socket.h>
#include <sys/wait.h>
int main(void) {
  int stream[2], packets[2], datagrams[2], half[2], shut[2], family[2];
  EXPECT(!socketpair(AF_UNIX, SOCK_STREAM, 0, stream) && !socketpair(AF_UNIX, SOCK_SEQPACKET, 0, packets));
  EXPECT(!socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, datagrams) && !socketpair(AF_UNIX, SOCK_STREAM, 0, half));
  EXPECT(!socketpair(AF_UNIX, SOCK_STREAM, 0, shut) && !socketpair(AF_UNIX, SOCK_STREAM, 0, family));
  EXPECT(write(stream[0], "to one", 6) == 6 && write(stream[0], " and on", 7) == 7 && write(stream[1], "to zero", 7) == 7);
  EXPECT(write(packets[0], "first", 5) == 5 && write(packets[0], "second one", 10) == 10);
  EXPECT(write(datagrams[1], "gram", 4) == 4);
  int last[2];
  EXPECT(!socketpair(AF_UNIX, SOCK_SEQPACKET, 0, last) && write(last[1], "end", 3) == 3 && !close(last[1]));
  EXPECT(write(half[1], "last words", 10) == 10 && !close(half[1]));
  EXPECT(write(shut[0], "before", 6) == 6 && !shutdown(shut[0], SHUT_WR));
  pid_t child = fork();
  if (child == 0) {
    char text[8] = "";
    close(family[0]);
    if (read(family[1], text, 4) != 4 || memcmp(text, "ping", 4)) _exit(3);
    _exit(write(family[1], "pong", 4) != 4);
  }
  close(family[1]);
  int same = dup(stream[0]), limited[2], three = 3;
  struct timeval sending = {77, 123000}, receiving = {0, 300000}, tv;
  EXPECT(!socketpair(AF_UNIX, SOCK_STREAM, 0, limited) && !setsockopt(limited[0], SOL_SOCKET, SO_RCVLOWAT, &three, sizeof three));
  EXPECT(!setsockopt(limited[0], SOL_SOCKET, SO_SNDTIMEO, &sending, sizeof sending));
  EXPECT(!setsockopt(limited[0], SOL_SOCKET, SO_RCVTIMEO, &receiving, sizeof receiving));
  ready();
  wait_for_go();
  char text[64];
  socklen_t size = sizeof tv;
  EXPECT(!getsockopt(limited[0], SOL_SOCKET, SO_SNDTIMEO, &tv, &size) && tv.tv_sec >= 77 && tv.tv_sec < 78);
  EXPECT(read(limited[0], text, 1) == -1 && errno == EAGAIN);
  size = sizeof three;
  EXPECT(!getsockopt(limited[0], SOL_SOCKET, SO_RCVLOWAT, &three, &size) && three == 3);
  EXPECT(read(stream[1], text, sizeof text) == 13 && !memcmp(text, "to one and on", 13));
  EXPECT(read(same, text, sizeof text) == 7 && !memcmp(text, "to zero", 7));
  EXPECT(write(same, "again", 5) == 5 && read(stream[1], text, sizeof text) == 5);
  EXPECT(read(packets[1], text, sizeof text) == 5 && !memcmp(text, "first", 5));
  EXPECT(read(packets[1], text, sizeof text) == 10 && !memcmp(text, "second one", 10));
  EXPECT(read(datagrams[0], text, sizeof text) == 4 && read(datagrams[0], text, sizeof text) == -1 && errno == EAGAIN);
  EXPECT(read(half[0], text, sizeof text) == 10 && !memcmp(text, "last words", 10) && read(half[0], text, 1) == 0);
  EXPECT(send(half[0], "x", 1, MSG_NOSIGNAL) == -1 && errno == EPIPE);
  EXPECT(read(last[0], text, sizeof text) == 3 && read(last[0], text, 1) == 0);
  EXPECT(read(shut[1], text, sizeof text) == 6 && read(shut[1], text, 1) == 0);
  EXPECT(send(shut[0], "x", 1, MSG_NOSIGNAL) == -1 && errno == EPIPE && write(shut[1], "y", 1) == 1);
  EXPECT(read(shut[0], text, 1) == 1 && text[0] == 'y');
  struct ucred who;
  size = sizeof who;
  EXPECT(!getsockopt(stream[0], SOL_SOCKET, SO_PEERCRED, &who, &size) && who.uid == getuid() && who.gid == getgid());
  EXPECT(write(family[0], "ping", 4) == 4 && read(family[0], text, sizeof text) == 4 && !memcmp(text, "pong", 4));
  int status;
  EXPECT(waitpid(child, &status, 0) == child && status == 0);
  return ok();
}
