/* Threads: thread-local storage, ids, alternate stacks, floating point, futexes, robust mutexes. */
#include "victim.h"
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
enum { MOST = 64 };
static int N = 16;
static __thread long mine;
static pthread_mutex_t lock;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static volatile int go, bad;
static int woken;
static int bad_at[MOST];
static void* worker(void* a) {
  long k = (long)a;
  mine = syscall(SYS_gettid);
  char* stack = malloc(65536);
  stack_t ss = {stack, 0, 65536}, now;
  sigaltstack(&ss, NULL);
  double x = k + 0.5;
  char name[16], seen[16];
  sprintf(name, "worker %ld", k);
  pthread_setname_np(pthread_self(), name);
  while (!go) {
    x = x * 1.0000001 / 1.0000001;
    if (mine != syscall(SYS_gettid) || sched_getcpu() < 0) bad_at[k] |= 1;
    usleep(1000);
  }
  sigaltstack(NULL, &now);
  if (now.ss_sp != stack || now.ss_size != 65536) bad_at[k] |= 2;
  pthread_getname_np(pthread_self(), seen, sizeof seen);
  if (strcmp(name, seen)) bad_at[k] |= 4;
  if (x < k + 0.4 || x > k + 0.6) bad_at[k] |= 8;
  return NULL;
}
static void* waiter(void* a) {
  (void)a;
  pthread_mutex_lock(&lock);
  while (!go) pthread_cond_wait(&changed, &lock);
  woken++;
  pthread_mutex_unlock(&lock);
  return NULL;
}
static void* holder(void* a) {
  pthread_mutex_lock(a);
  while (!go) usleep(1000);
  return NULL; /* dies with the robust mutex locked */
}
int main(int argc, char** argv) {
  if (argc > 1) N = atoi(argv[1]) > MOST ? MOST : atoi(argv[1]);
  pthread_mutexattr_t attr;
  pthread_mutexattr_init(&attr);
  pthread_mutex_t robust;
  pthread_mutex_init(&lock, NULL);
  pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
  pthread_mutex_init(&robust, &attr);
  pthread_t t[MOST], w[4], h;
  for (long i = 0; i < N; i++) EXPECT(!pthread_create(&t[i], NULL, worker, (void*)i));
  for (int i = 0; i < 4; i++) EXPECT(!pthread_create(&w[i], NULL, waiter, NULL));
  EXPECT(!pthread_create(&h, NULL, holder, &robust));
  long self = syscall(SYS_gettid);
  usleep(20000);
  ready();
  wait_for_go();
  EXPECT(self == syscall(SYS_gettid) && self == getpid());
  pthread_mutex_lock(&lock);
  go = 1;
  pthread_cond_broadcast(&changed);
  pthread_mutex_unlock(&lock);
  for (int i = 0; i < N; i++) EXPECT(!pthread_join(t[i], NULL));
  for (int i = 0; i < 4; i++) EXPECT(!pthread_join(w[i], NULL));
  EXPECT(!pthread_join(h, NULL));
  for (int i = 0; i < N; i++) EXPECT(bad_at[i] == 0);
  EXPECT(woken == 4);
  EXPECT(pthread_mutex_lock(&robust) == EOWNERDEAD);
  return ok();
}
