/* What madvise and mlock have set, seen through what it does: children without a range, with a wiped one; and in smaps. */
#include "victim.h"
#include <sys/mman.h>
#include <sys/wait.h>
enum { SIZE = 64 << 10 };
static int has_flag(const void* address, const char* flag) {
  FILE* smaps = fopen("/proc/self/smaps", "r");
  EXPECT(smaps != NULL);
  char line[512];
  unsigned long start, end, at = (unsigned long)address;
  int here = 0, found = -1;
  while (fgets(line, sizeof line, smaps)) {
    if (sscanf(line, "%lx-%lx ", &start, &end) == 2) here = start <= at && at < end;
    if (here && !strncmp(line, "VmFlags:", 8)) found = strstr(line, flag) != NULL;
  }
  fclose(smaps);
  return found;
}
static char* make(int advice) {
  char* memory = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  EXPECT(memory != MAP_FAILED && (advice < 0 || !madvise(memory, SIZE, advice)));
  memset(memory, 'x', SIZE);
  return memory;
}
int main(void) {
  char* not_forked = make(MADV_DONTFORK);
  char* wiped = make(MADV_WIPEONFORK);
  char* not_dumped = make(MADV_DONTDUMP);
  char* locked = make(-1);
  EXPECT(!mlock(locked, SIZE));
  ready();
  wait_for_go();
  EXPECT(not_forked[1] == 'x' && wiped[SIZE - 1] == 'x');
  EXPECT(has_flag(not_dumped, " dd") == 1 && has_flag(locked, " lo") == 1);
  EXPECT(has_flag(wiped, " wf") == 1 && has_flag(not_forked, " dc") == 1);
  pid_t child = fork();
  if (child == 0) _exit(wiped[0] != 0 || wiped[SIZE - 1] != 0 || has_flag(not_forked, " dc") == 1);
  int status;
  EXPECT(waitpid(child, &status, 0) == child && status == 0);
  return ok();
}
