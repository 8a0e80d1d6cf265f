/* Dispositions, masks, pending signals with their data, real-time queues. */
#include "victim.h"
#include <signal.h>
static volatile int got[65], order[8], n;
static volatile void* value;
static void handler(int s, siginfo_t* i, void* c) {
  (void)c;
  got[s]++;
  if (s == SIGRTMIN + 1 && n < 8) order[n++] = i->si_value.sival_int;
  if (s == SIGUSR2) value = i->si_value.sival_ptr;
}
int main(void) {
  struct sigaction sa = {0}, now;
  sa.sa_sigaction = handler;
  sa.sa_flags = SA_SIGINFO | SA_RESTART;
  sigaddset(&sa.sa_mask, SIGHUP);
  EXPECT(!sigaction(SIGUSR1, &sa, NULL) && !sigaction(SIGUSR2, &sa, NULL));
  EXPECT(!sigaction(SIGRTMIN + 1, &sa, NULL));
  signal(SIGQUIT, SIG_IGN);
  sigset_t block, mask;
  sigemptyset(&block);
  sigaddset(&block, SIGUSR1);
  sigaddset(&block, SIGUSR2);
  sigaddset(&block, SIGRTMIN + 1);
  sigprocmask(SIG_BLOCK, &block, NULL);
  raise(SIGUSR1);
  EXPECT(!sigqueue(getpid(), SIGUSR2, (union sigval){.sival_ptr = (void*)0x1234567}));
  for (int i = 0; i < 5; i++) EXPECT(!sigqueue(getpid(), SIGRTMIN + 1, (union sigval){.sival_int = i * 7}));
  ready();
  wait_for_go();
  EXPECT(got[SIGUSR1] == 0 && got[SIGUSR2] == 0 && n == 0);
  sigprocmask(SIG_SETMASK, NULL, &mask);
  EXPECT(sigismember(&mask, SIGUSR1) && sigismember(&mask, SIGUSR2) && !sigismember(&mask, SIGTERM));
  sigprocmask(SIG_UNBLOCK, &block, NULL);
  EXPECT(got[SIGUSR1] == 1 && got[SIGUSR2] == 1 && n == 5);
  for (int i = 0; i < 5; i++) EXPECT(order[i] == i * 7);
  EXPECT(value == (void*)0x1234567);
  sigaction(SIGUSR1, NULL, &now);
  EXPECT(now.sa_sigaction == handler && now.sa_flags & SA_RESTART && sigismember(&now.sa_mask, SIGHUP));
  sigaction(SIGQUIT, NULL, &now);
  EXPECT(now.sa_handler == SIG_IGN);
  sigaction(SIGTERM, NULL, &now);
  EXPECT(now.sa_handler == SIG_DFL);
  return ok();
}
