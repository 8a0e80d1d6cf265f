/* Interval timers, POSIX timers of several kinds, clocks that do not step. */
#include "victim.h"
#include <pthread.h>
#include <signal.h>
#include <sys/time.h>
#include <time.h>
static volatile int alarms, rt, threads;
static void on_alarm(int s) { (void)s; alarms++; }
static void on_rt(int s, siginfo_t* i, void* c) { (void)s; (void)c; rt += i->si_value.sival_int; }
static void in_thread(union sigval v) { threads += v.sival_int; }
static double now(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return (double)t.tv_sec + (double)t.tv_nsec * 1e-9; }
int main(void) {
  struct sigaction sa = {0};
  sa.sa_handler = on_alarm;
  sa.sa_flags = SA_RESTART;
  sigaction(SIGALRM, &sa, NULL);
  sa.sa_sigaction = on_rt;
  sa.sa_flags |= SA_SIGINFO;
  sigaction(SIGRTMIN, &sa, NULL);
  struct itimerval it = {{0, 20000}, {0, 20000}}, left;
  setitimer(ITIMER_REAL, &it, NULL);
  struct itimerval far = {{7, 0}, {1000, 0}};
  setitimer(ITIMER_VIRTUAL, &far, NULL);
  timer_t a, b, gone, c;
  struct sigevent e = {0};
  e.sigev_notify = SIGEV_SIGNAL;
  e.sigev_signo = SIGRTMIN;
  e.sigev_value.sival_int = 1;
  EXPECT(!timer_create(CLOCK_MONOTONIC, &e, &a));
  EXPECT(!timer_create(CLOCK_REALTIME, &e, &gone));
  EXPECT(!timer_create(CLOCK_REALTIME, &e, &b));
  timer_delete(gone);
  struct sigevent te = {0};
  te.sigev_notify = SIGEV_THREAD;
  te.sigev_notify_function = in_thread;
  te.sigev_value.sival_int = 1;
  EXPECT(!timer_create(CLOCK_MONOTONIC, &te, &c));
  struct itimerspec s = {{0, 20000000}, {0, 20000000}}, l;
  timer_settime(a, 0, &s, NULL);
  timer_settime(c, 0, &s, NULL);
  struct itimerspec one = {{0, 0}, {1000, 0}};
  timer_settime(b, 0, &one, NULL);
  double before = now();
  usleep(30000);
  ready();
  wait_for_go();
  double after = now();
  EXPECT(after > before && after - before < 10);
  int x = alarms, y = rt, z = threads;
  EXPECT(x > 0 && y > 0);
  for (int i = 0; i < 500 && (alarms < x + 2 || rt < y + 2 || threads < z + 2); i++) usleep(10000);
  EXPECT(alarms >= x + 2);
  EXPECT(rt >= y + 2);
  EXPECT(threads >= z + 2);
  getitimer(ITIMER_VIRTUAL, &left);
  EXPECT(left.it_interval.tv_sec == 7 && left.it_value.tv_sec > 980);
  EXPECT(!timer_gettime(b, &l));
  EXPECT(l.it_value.tv_sec > 980 && l.it_value.tv_sec <= 1000);
  EXPECT(timer_gettime(gone, &l) == -1);
  return ok();
}
