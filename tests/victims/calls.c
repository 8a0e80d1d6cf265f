/* Threads blocked in many kinds of system calls. */
#include "victim.h"
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/syscall.h>
#include <time.h>
static int words[4], fine[16];
static sem_t sem;
static int pipes[2];
static void* blocked(void* a) {
  long k = (long)a;
  struct timespec ts = {1, 500000000}, abs;
  char c;
  errno = 0;
  long r = -99;
  switch (k) {
    case 0: r = nanosleep(&ts, NULL); fine[k] = r == 0; break;
    case 1: r = poll(NULL, 0, 1500); fine[k] = r == 0; break;
    case 2: r = syscall(SYS_futex, &words[0], FUTEX_WAIT_PRIVATE, 0, &ts, 0, 0); fine[k] = r == -1 && errno == ETIMEDOUT; break;
    case 3: { int e = epoll_create1(0); struct epoll_event ev; r = epoll_wait(e, &ev, 1, 1500); fine[k] = r == 0; break; }
    case 4: { struct timeval tv = {1, 500000}; r = select(0, NULL, NULL, NULL, &tv); fine[k] = r == 0; break; }
    case 5: clock_gettime(CLOCK_MONOTONIC, &abs); abs.tv_sec += 1; r = clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &abs, NULL); fine[k] = r == 0; break;
    case 6: r = syscall(SYS_futex, &words[1], FUTEX_WAIT_PRIVATE, 0, NULL, 0, 0);
      /* Begun again after the word has changed, as any restarted wait may be (futex(2)). */
      fine[k] = r == 0 || (errno == EAGAIN && words[1] == 1); break;
    case 7: { sigset_t s; sigemptyset(&s); sigaddset(&s, SIGUSR1); r = sigtimedwait(&s, NULL, &ts); fine[k] = r == -1 && errno == EAGAIN; break; }
    case 8: clock_gettime(CLOCK_REALTIME, &abs); abs.tv_sec += 1; r = sem_timedwait(&sem, &abs); fine[k] = r == -1 && errno == ETIMEDOUT; break;
    case 9: r = ppoll(NULL, 0, &ts, NULL); fine[k] = r == 0; break;
    case 10: r = read(pipes[0], &c, 1); fine[k] = r == 1 && c == 'p'; break;
  }
  if (!fine[k]) printf("call %ld: %ld errno %d\n", k, r, errno);
  return NULL;
}
int main(void) {
  sigset_t s;
  sigemptyset(&s);
  sigaddset(&s, SIGUSR1);
  pthread_sigmask(SIG_BLOCK, &s, NULL);
  sem_init(&sem, 0, 0);
  EXPECT(!pipe(pipes));
  pthread_t t[11];
  for (long i = 0; i < 11; i++) EXPECT(!pthread_create(&t[i], NULL, blocked, (void*)i));
  usleep(50000);
  ready();
  wait_for_go();
  words[1] = 1;
  syscall(SYS_futex, &words[1], FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
  EXPECT(write(pipes[1], "p", 1) == 1);
  for (int i = 0; i < 11; i++) pthread_join(t[i], NULL);
  for (int i = 0; i < 11; i++) EXPECT(fine[i]);
  return ok();
}
