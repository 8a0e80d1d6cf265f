/* Job control: who is stopped stays so and goes on at SIGCONT, and a parent is told of each stop and each going on once
 * and no more. The first process stops itself, too, and leaves the rest to its child. */
#include "victim.h"
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/wait.h>
enum { TOLD, UNTOLD, CONTINUED, KNOWN, BUSY, CHILDREN };
static pid_t child[CHILDREN];
static int gate[2];
static atomic_long* count; /* shared with the busy one */
static volatile int told;  /* signals about children */
static void on_child(int signal) { (void)signal; told++; }
static void* counts(void* unused) {
  for (;;) atomic_fetch_add(count, 1);
  return unused;
}
static char state_of(pid_t pid) {
  char path[64], text[512], *end;
  snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
  FILE* f = fopen(path, "r");
  EXPECT(f && fgets(text, sizeof text, f));
  fclose(f);
  EXPECT((end = strrchr(text, ')')));
  return end[2];
}
static void until(pid_t pid, char state) { while (state_of(pid) != state) usleep(1000); }
static siginfo_t ask(pid_t pid, int options) {
  siginfo_t info = {0};
  EXPECT(!waitid(P_PID, (id_t)pid, &info, options));
  return info;
}
static void nothing_of(pid_t pid) { EXPECT(ask(pid, WSTOPPED | WCONTINUED | WNOHANG).si_pid == 0); }
static void start(int which) {
  EXPECT((child[which] = fork()) >= 0);
  if (child[which]) return;
  char c;
  signal(SIGCHLD, SIG_DFL);
  EXPECT(!setpgid(0, 0));
  pthread_t thread;
  if (which == BUSY) for (int i = 0; i < 3; i++) EXPECT(!pthread_create(&thread, NULL, counts, NULL));
  EXPECT(!raise(which == TOLD ? SIGTSTP : which == UNTOLD ? SIGTTIN : SIGSTOP));
  EXPECT(read(gate[0], &c, 1) == 1);
  _exit(40 + which);
}
static int rest(pid_t first) {
  struct sigaction action = {.sa_handler = on_child, .sa_flags = SA_RESTART};
  EXPECT(!sigaction(SIGCHLD, &action, NULL) && !pipe(gate));
  count = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  EXPECT(count != MAP_FAILED);
  for (int i = 0; i < CHILDREN; i++) start(i);
  for (int i = 0; i < CHILDREN; i++) if (i != UNTOLD) EXPECT(ask(child[i], WSTOPPED).si_status == (i == TOLD ? SIGTSTP : SIGSTOP));
  EXPECT(!kill(child[CONTINUED], SIGCONT) && !kill(child[KNOWN], SIGCONT));
  EXPECT(ask(child[KNOWN], WCONTINUED).si_code == CLD_CONTINUED);
  EXPECT(ask(child[CONTINUED], WCONTINUED | WNOWAIT).si_code == CLD_CONTINUED);
  EXPECT(ask(child[UNTOLD], WSTOPPED | WNOWAIT).si_code == CLD_STOPPED);
  until(first, 'T');
  until(child[CONTINUED], 'S'), until(child[KNOWN], 'S');
  const int before = told;
  const long counted = atomic_load(count);
  ready();
  wait_for_go();
  EXPECT(told == before);
  EXPECT(state_of(first) == 'T' && state_of(child[CONTINUED]) == 'S' && state_of(child[KNOWN]) == 'S');
  for (int i = 0; i < CHILDREN; i++) if (i != CONTINUED && i != KNOWN) EXPECT(state_of(child[i]) == 'T');
  EXPECT(atomic_load(count) == counted);
  nothing_of(child[TOLD]), nothing_of(child[KNOWN]), nothing_of(child[BUSY]);
  siginfo_t info = ask(child[UNTOLD], WSTOPPED | WCONTINUED | WNOHANG);
  EXPECT(info.si_pid == child[UNTOLD] && info.si_code == CLD_STOPPED && info.si_status == SIGTTIN);
  nothing_of(child[UNTOLD]);
  info = ask(child[CONTINUED], WSTOPPED | WCONTINUED | WNOHANG);
  EXPECT(info.si_pid == child[CONTINUED] && info.si_code == CLD_CONTINUED);
  nothing_of(child[CONTINUED]);
  for (int i = 0; i < CHILDREN; i++)
    if (i != CONTINUED && i != KNOWN) {
      EXPECT(!kill(child[i], SIGCONT));
      EXPECT(ask(child[i], WCONTINUED).si_code == CLD_CONTINUED);
    }
  while (atomic_load(count) == counted) usleep(1000);
  EXPECT(write(gate[1], "12345", CHILDREN) == CHILDREN);
  for (int i = 0; i < CHILDREN; i++) {
    info = ask(child[i], WEXITED);
    EXPECT(info.si_code == CLD_EXITED && info.si_status == 40 + i);
  }
  return 0;
}
int main(void) {
  const pid_t first = getpid();
  pid_t other = fork();
  EXPECT(other >= 0);
  if (other == 0) {
    rest(first);
    EXPECT(!kill(first, SIGCONT));
    _exit(33);
  }
  EXPECT(!raise(SIGSTOP));
  int status;
  EXPECT(waitpid(other, &status, 0) == other && WIFEXITED(status) && WEXITSTATUS(status) == 33);
  return ok();
}
