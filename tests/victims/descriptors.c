/* eventfd, timerfd, signalfd, epoll. */
#include "victim.h"
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
int main(void) {
  int e = eventfd(5, 0), sem = eventfd(3, EFD_SEMAPHORE | EFD_NONBLOCK);
  int t = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK), periodic = timerfd_create(CLOCK_MONOTONIC, 0);
  struct itimerspec s = {{0, 0}, {500, 0}}, p = {{0, 10000000}, {0, 10000000}}, now;
  timerfd_settime(t, 0, &s, NULL);
  timerfd_settime(periodic, 0, &p, NULL);
  sigset_t m;
  sigemptyset(&m);
  sigaddset(&m, SIGUSR1);
  sigprocmask(SIG_BLOCK, &m, NULL);
  int sig = signalfd(-1, &m, 0);
  raise(SIGUSR1);
  int ep = epoll_create1(EPOLL_CLOEXEC);
  struct epoll_event ev = {EPOLLIN, {.u64 = 0xabcdef12345}};
  EXPECT(!epoll_ctl(ep, EPOLL_CTL_ADD, e, &ev));
  ev.data.u64 = 2;
  ev.events = EPOLLIN | EPOLLET;
  EXPECT(!epoll_ctl(ep, EPOLL_CTL_ADD, sig, &ev));
  ready();
  wait_for_go();
  struct epoll_event got[4];
  EXPECT(epoll_wait(ep, got, 4, 1000) == 2);
  EXPECT(got[0].data.u64 + got[1].data.u64 == 0xabcdef12345 + 2);
  uint64_t v;
  EXPECT(read(e, &v, 8) == 8 && v == 5);
  EXPECT(epoll_wait(ep, got, 4, 0) == 0 || got[0].data.u64 == 2);
  for (int i = 0; i < 3; i++) EXPECT(read(sem, &v, 8) == 8 && v == 1);
  EXPECT(read(sem, &v, 8) == -1 && errno == EAGAIN);
  EXPECT(!timerfd_gettime(t, &now) && now.it_value.tv_sec > 480);
  EXPECT(read(t, &v, 8) == -1 && errno == EAGAIN);
  EXPECT(read(periodic, &v, 8) == 8 && v > 0 && read(periodic, &v, 8) == 8);
  struct signalfd_siginfo info;
  EXPECT(read(sig, &info, sizeof info) == sizeof info && info.ssi_signo == SIGUSR1);
  return ok();
}
