/* Nice values and processors, per thread. */
#include "victim.h"
#include <pthread.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/syscall.h>
static volatile int stage;
static void* other(void* unused) {
  (void)unused;
  EXPECT(!setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), 7));
  stage = 1;
  while (stage != 2) usleep(1000);
  EXPECT(getpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid)) == 7);
  return NULL;
}
int main(void) {
  EXPECT(!setpriority(PRIO_PROCESS, 0, 5));
  cpu_set_t all, one, now;
  EXPECT(!sched_getaffinity(0, sizeof all, &all));
  pthread_t thread;
  EXPECT(!pthread_create(&thread, NULL, other, NULL));
  while (stage != 1) usleep(1000);
  CPU_ZERO(&one);
  for (int cpu = 0; cpu < CPU_SETSIZE && CPU_COUNT(&one) == 0; cpu++)
    if (CPU_ISSET(cpu, &all)) CPU_SET(cpu, &one);
  EXPECT(!sched_setaffinity(0, sizeof one, &one));
  ready();
  wait_for_go();
  EXPECT(getpriority(PRIO_PROCESS, (id_t)getpid()) == 5);
  EXPECT(!sched_getaffinity(0, sizeof now, &now) && CPU_EQUAL(&now, &one));
  stage = 2;
  EXPECT(!pthread_join(thread, NULL));
  return ok();
}
