/* What the program has asked for of its host's attention, per thread: nice values, processors, scheduling class, place in
 * the queues of disks; and how soon it is to die when memory is short, which it can take back. */
#include "victim.h"
#include <pthread.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/syscall.h>
enum { BEST_EFFORT_6 = 2 << 13 | 6, LAST = 3 << 13, ONE_THREAD = 1 };
static volatile int stage, pauses;
static pid_t self(void) { return (pid_t)syscall(SYS_gettid); }
static long disk(pid_t thread) { return syscall(SYS_ioprio_get, ONE_THREAD, thread); }
static int score(int set) {
  int value = -1;
  FILE* f = fopen("/proc/self/oom_score_adj", set >= 0 ? "w" : "r");
  EXPECT(f && (set >= 0 ? fprintf(f, "%d", set) > 0 : fscanf(f, "%d", &value) == 1) && !fclose(f));
  return value;
}
static void* other(void* unused) {
  const struct sched_param none = {0};
  EXPECT(!setpriority(PRIO_PROCESS, (id_t)self(), 7));
  EXPECT(!sched_setscheduler(0, SCHED_BATCH | SCHED_RESET_ON_FORK, &none));
  EXPECT(!syscall(SYS_ioprio_set, ONE_THREAD, 0, BEST_EFFORT_6));
  stage = 1;
  while (stage != 2) usleep(1000);
  EXPECT(getpriority(PRIO_PROCESS, (id_t)self()) == 7);
  EXPECT(sched_getscheduler(0) == (SCHED_BATCH | SCHED_RESET_ON_FORK) && disk(0) == BEST_EFFORT_6);
  return unused;
}
static void* last(void* unused) {
  const struct sched_param none = {0};
  EXPECT(!sched_setscheduler(0, SCHED_IDLE, &none) && !syscall(SYS_ioprio_set, ONE_THREAD, 0, LAST));
  pauses = self();
  for (;;) pause();
  return unused;
}
int main(void) {
  EXPECT(!setpriority(PRIO_PROCESS, 0, 5));
  cpu_set_t all, one, now;
  EXPECT(!sched_getaffinity(0, sizeof all, &all));
  const long given = disk(0);
  const int before = score(-1);
  score(700);
  pthread_t thread, idle;
  EXPECT(!pthread_create(&thread, NULL, other, NULL) && !pthread_create(&idle, NULL, last, NULL));
  while (stage != 1 || !pauses) usleep(1000);
  CPU_ZERO(&one);
  for (int cpu = 0; cpu < CPU_SETSIZE && CPU_COUNT(&one) == 0; cpu++)
    if (CPU_ISSET(cpu, &all)) CPU_SET(cpu, &one);
  EXPECT(!sched_setaffinity(0, sizeof one, &one));
  ready();
  wait_for_go();
  EXPECT(getpriority(PRIO_PROCESS, (id_t)getpid()) == 5);
  EXPECT(!sched_getaffinity(0, sizeof now, &now) && CPU_EQUAL(&now, &one));
  EXPECT(sched_getscheduler(0) == SCHED_OTHER && disk(0) == given);
  EXPECT(sched_getscheduler(pauses) == SCHED_IDLE && disk(pauses) == LAST);
  EXPECT(score(-1) == 700);
  score(before);
  EXPECT(score(-1) == before);
  stage = 2;
  EXPECT(!pthread_join(thread, NULL));
  return ok();
}
