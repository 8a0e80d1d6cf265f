/* mlockall(2) for the future: what is mapped later is locked, at once or as it is touched; what was there before is not. */
#include "victim.h"
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
enum { SIZE = 64 << 10 };
static int gate[2], set_up[2];
static long value(const void* address, const char* key, const char* flag) {
  FILE* smaps = fopen("/proc/self/smaps", "r");
  EXPECT(smaps != NULL);
  char line[512];
  unsigned long start, end, at = (unsigned long)address;
  long found = -1;
  for (int here = 0; found < 0 && fgets(line, sizeof line, smaps);) {
    if (sscanf(line, "%lx-%lx ", &start, &end) == 2) here = start <= at && at < end;
    if (here && !strncmp(line, key, strlen(key))) found = flag ? strstr(line, flag) != NULL : atol(line + strlen(key));
  }
  fclose(smaps);
  return found;
}
/* apart from its neighbours, which the kernel would join it with */
static char* make(void) {
  char* memory = mmap(NULL, 3 * SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  EXPECT(memory != MAP_FAILED);
  memory = mmap(memory + SIZE, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
  EXPECT(memory != MAP_FAILED);
  return memory;
}
static int locked(const void* at) { return (int)value(at, "VmFlags:", " lo"); }
static long resident(const void* at) { return value(at, "Rss:", NULL) << 10; }
/* `flags` 0: nothing is to be locked */
static void run(int flags, int (*move)(void)) {
  char* before = make();
  before[0] = 'b';
  EXPECT(!flags || !mlockall(flags));
  char* since = make();
  since[0] = 's';
  EXPECT(!flags || locked(since));
  EXPECT(move());
  EXPECT(!locked(before) && before[0] == 'b' && locked(since) == (flags != 0) && since[0] == 's');
  char* now = make();
  EXPECT(locked(now) == (flags != 0) && resident(now) == (flags == MCL_FUTURE ? SIZE : 0));
  EXPECT(!munlockall());
  now = make();
  EXPECT(!locked(now) && !locked(since) && resident(now) == 0);
}
static int told(void) {
  char c;
  return write(set_up[1], "x", 1) == 1 && read(gate[0], &c, 1) == 1;
}
static int go(void) {
  char c;
  EXPECT(read(set_up[0], &c, 1) == 1 && read(set_up[0], &c, 1) == 1);
  ready();
  wait_for_go();
  return write(gate[1], "12", 2) == 2;
}
int main(void) {
  struct rlimit limit;
  EXPECT(!pipe(gate) && !pipe(set_up) && !getrlimit(RLIMIT_MEMLOCK, &limit));
  const int may = limit.rlim_cur >= 4 << 20;
  static const int how[2] = {MCL_FUTURE | MCL_ONFAULT, 0};
  pid_t child[2];
  for (int i = 0; i < 2; i++) {
    EXPECT((child[i] = fork()) >= 0);
    if (child[i] == 0) {
      run(may ? how[i] : 0, told);
      _exit(0);
    }
  }
  run(may ? MCL_FUTURE : 0, go);
  int status;
  for (int i = 0; i < 2; i++) EXPECT(waitpid(child[i], &status, 0) == child[i] && status == 0);
  return ok();
}
