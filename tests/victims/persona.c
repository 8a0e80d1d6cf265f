/* personality(2): told as before, and in force as before. */
#include "victim.h"
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/utsname.h>
#include <signal.h>
#include <sys/wait.h>
static const unsigned long wanted = PER_LINUX32 | ADDR_NO_RANDOMIZE | READ_IMPLIES_EXEC | UNAME26;
static int executable(const void* at) {
  unsigned long start, end;
  char line[512], rights[8];
  int found = -1;
  FILE* f = fopen("/proc/self/maps", "r");
  EXPECT(f);
  while (fgets(line, sizeof line, f))
    if (sscanf(line, "%lx-%lx %7s", &start, &end, rights) == 3 && start <= (unsigned long)at && (unsigned long)at < end)
      found = rights[2] == 'x';
  fclose(f);
  return found;
}
static void in_force(void) {
  struct utsname name;
  EXPECT(personality(0xffffffff) == (int)wanted);
  EXPECT(!uname(&name) && !strcmp(name.machine, "i686") && !strncmp(name.release, "2.6.", 4));
  void* made = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  EXPECT(made != MAP_FAILED && executable(made) == 1 && !munmap(made, 4096));
}
int main(void) {
  char* before = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  EXPECT(before != MAP_FAILED);
  before[0] = 'b';
  pid_t plain = fork();
  EXPECT(plain >= 0);
  if (plain == 0) {
    for (int i = 0; personality(0xffffffff) == 0 && getppid() > 1 && i < 60000; i++) usleep(1000);
    _exit(1);
  }
  EXPECT(personality(wanted) == 0);
  in_force();
  ready();
  wait_for_go();
  in_force();
  EXPECT(executable(before) == 0 && before[0] == 'b');
  EXPECT(waitpid(plain, NULL, WNOHANG) == 0 && !kill(plain, 9) && waitpid(plain, NULL, 0) == plain);
  return ok();
}
