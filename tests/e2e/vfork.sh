#!/usr/bin/env bash
# A program that no move can stop, because its child has not executed yet (vfork(2)): it stays where it is,
# its user is told, and it goes on when its owner is away again.
set -euo pipefail
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
up 2 idle=500ms
cd "$WORK"
cat >job.c <<'END'
#include <fcntl.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>
int main(void) {
  int status;
  pid_t child = vfork();
  if (child == 0) {
    close(open("ready", O_CREAT | O_WRONLY, 0644));
    open("hold", O_RDONLY); /* until somebody writes */
    _exit(7);
  }
  printf("%d\n", waitpid(child, &status, 0) == child && WEXITSTATUS(status) == 7);
  return 0;
}
END
gcc -o job job.c
mkfifo hold
chmod 666 hold
start_on h0 remote run ./job </dev/null >output 2>errors &
shadow=$!
soon 20 "the job runs" test -e ready
cell touch h1
soon 30 "its user is told" grep -q "could not be moved from h1 to h0: .*does not stop" errors
runs() { [[ $(job state) == running && $(job host) == h1 ]]; }
soon 30 "it goes on" runs

echo go >hold
ends_with 0 wait $shadow
equal "its output" 1 "$(cat output)"
