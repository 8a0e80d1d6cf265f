/* What prctl sets for a thread or a process; what the end of a child sends to its parent. */
#include "victim.h"
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
static volatile int stage, seen[3];
static int gate[2];
static char child_stacks[2][65536] __attribute__((aligned(16)));
static int child(void* code) {
  char c;
  if (read(gate[0], &c, 1) != 1) _exit(99);
  _exit((int)(long)code);
}
static int dead(void* code) { _exit((int)(long)code); }
static void on_end(int s) { seen[s == SIGUSR1 ? 0 : s == SIGUSR2 ? 1 : 2]++; }
static void* other(void* unused) {
  EXPECT(!prctl(PR_SET_TIMERSLACK, 1234567));
  const int spec = prctl(PR_GET_SPECULATION_CTRL, PR_SPEC_STORE_BYPASS, 0, 0, 0);
  if (spec > 0 && spec & PR_SPEC_PRCTL) EXPECT(!prctl(PR_SET_SPECULATION_CTRL, PR_SPEC_STORE_BYPASS, PR_SPEC_DISABLE, 0, 0));
  const int after = prctl(PR_GET_SPECULATION_CTRL, PR_SPEC_STORE_BYPASS, 0, 0, 0);
  stage = 1;
  while (stage != 2) usleep(1000);
  EXPECT(prctl(PR_GET_TIMERSLACK) == 1234567);
  EXPECT(prctl(PR_GET_SPECULATION_CTRL, PR_SPEC_STORE_BYPASS, 0, 0, 0) == after);
  return unused;
}
int main(void) {
  EXPECT(!pipe(gate));
  signal(SIGUSR1, on_end);
  signal(SIGUSR2, on_end);
  signal(SIGCHLD, on_end);
  EXPECT(!prctl(PR_SET_TIMERSLACK, 77777) && !prctl(PR_SET_TSC, PR_TSC_SIGSEGV));
  EXPECT(!prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0) && !prctl(PR_SET_KEEPCAPS, 1));
  EXPECT(!prctl(PR_MCE_KILL, PR_MCE_KILL_SET, PR_MCE_KILL_EARLY, 0, 0));
  const int no_cpuid = syscall(SYS_arch_prctl, 0x1012, 0) == 0;
  /* one that ends after the move, one that nobody is told of, one that has ended already */
  pid_t told = clone(child, child_stacks[0] + 65536, SIGUSR1, (void*)21);
  pid_t quiet = clone(child, child_stacks[1] + 65536, 0, (void*)22);
  pid_t gone = clone(dead, child_stacks[1] + 65536, SIGUSR2, (void*)23);
  EXPECT(told > 0 && quiet > 0 && gone > 0);
  while (seen[1] == 0) usleep(1000);
  pthread_t thread;
  EXPECT(!pthread_create(&thread, NULL, other, NULL));
  while (stage != 1) usleep(1000);
  ready();
  wait_for_go();
  EXPECT(prctl(PR_GET_TIMERSLACK) == 77777);
  int tsc = 0, status;
  EXPECT(!prctl(PR_GET_TSC, &tsc) && tsc == PR_TSC_SIGSEGV);
  EXPECT(prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0) == 1 && prctl(PR_GET_KEEPCAPS) == 1);
  EXPECT(prctl(PR_MCE_KILL_GET, 0, 0, 0, 0) == PR_MCE_KILL_EARLY);
  if (no_cpuid) EXPECT(syscall(SYS_arch_prctl, 0x1011, 0) == 0);
  EXPECT(seen[0] == 0 && seen[1] == 1 && seen[2] == 0);
  EXPECT(waitpid(gone, &status, 0) == -1 && errno == ECHILD);
  EXPECT(waitpid(gone, &status, __WCLONE) == gone && WEXITSTATUS(status) == 23);
  EXPECT(write(gate[1], "ab", 2) == 2);
  EXPECT(waitpid(told, &status, __WALL) == told && WEXITSTATUS(status) == 21);
  EXPECT(waitpid(quiet, &status, __WALL) == quiet && WEXITSTATUS(status) == 22);
  EXPECT(seen[0] == 1 && seen[1] == 1 && seen[2] == 0);
  stage = 2;
  EXPECT(!pthread_join(thread, NULL));
  return ok();
}
