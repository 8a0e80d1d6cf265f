/* A tree: children, grandchildren, orphans, zombies, groups, sessions; a pipeline among them. */
#include "victim.h"
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
static void hold(int fd) {
  char c;
  if (read(fd, &c, 1) < 0) _exit(99);
}
int main(void) {
  int gate[2], facts[2];
  EXPECT(!pipe(gate) && !pipe(facts));
  pid_t zombie = fork();
  if (!zombie) _exit(42);
  pid_t killed = fork();
  if (!killed) { raise(SIGKILL); }
  pid_t child = fork();
  if (!child) {
    setpgid(0, 0);
    pid_t grandchild = fork();
    if (!grandchild) {
      pid_t pid = getpid(), parent = getppid(), group = getpgrp();
      hold(gate[0]);
      char ok = pid == getpid() && parent == getppid() && group == getpgrp();
      if (write(facts[1], &ok, 1) < 0) _exit(1);
      _exit(5);
    }
    int status;
    if (waitpid(grandchild, &status, 0) != grandchild) _exit(1);
    _exit(WEXITSTATUS(status) + 1);
  }
  setpgid(child, child);
  pid_t session = fork();
  if (!session) {
    setsid();
    if (!fork()) { /* in the session of the one above */
      pid_t sid = getsid(0);
      hold(gate[0]);
      char ok = sid == getsid(0) && sid == getppid();
      if (write(facts[1], &ok, 1) < 0) _exit(1);
      _exit(0);
    }
    hold(gate[0]);
    char ok = getsid(0) == getpid();
    if (write(facts[1], &ok, 1) < 0) _exit(1);
    wait(NULL);
    _exit(8);
  }
  if (!fork()) { /* makes an orphan in a session whose leader is dead: a daemon */
    setsid();
    if (!fork()) {
      while (getppid() != 1) usleep(1000);
      pid_t sid = getsid(0), group = getpgrp();
      hold(gate[0]);
      char ok = sid == getsid(0) && group == getpgrp() && getppid() == 1;
      if (write(facts[1], &ok, 1) < 0) _exit(1);
      _exit(0);
    }
    _exit(0);
  }
  usleep(50000);
  EXPECT(wait(NULL) > 0); /* one of the dead; the others stay zombies */
  pid_t self = getpid(), parent = getppid(), group = getpgrp(), sid = getsid(0);
  ready();
  wait_for_go();
  EXPECT(self == getpid() && parent == getppid() && group == getpgrp() && sid == getsid(0));
  EXPECT(getpgid(child) == child && getsid(session) == session);
  EXPECT(write(gate[1], "abcd", 4) == 4);
  char ok4[4];
  for (int i = 0; i < 4; i++) EXPECT(read(facts[0], &ok4[i], 1) == 1 && ok4[i] == 1);
  int status, seen = 0;
  for (pid_t p; (p = wait(&status)) > 0;) {
    if (p == child) EXPECT(WEXITSTATUS(status) == 6);
    if (p == session) EXPECT(WEXITSTATUS(status) == 8);
    if (p == killed) EXPECT(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    if (p == zombie) EXPECT(WIFEXITED(status) && WEXITSTATUS(status) == 42);
    seen++;
  }
  EXPECT(errno == ECHILD && seen == 4);
  return ok();
}
