/* Who the process is: ids, limits, flags; that it is as confined as before. */
#include "victim.h"
#include <grp.h>
#include <linux/securebits.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
static void status_line(const char* key, char* out) {
  char line[256];
  FILE* f = fopen("/proc/self/status", "r");
  EXPECT(f);
  out[0] = 0;
  while (fgets(line, sizeof line, f)) if (!strncmp(line, key, strlen(key))) strcpy(out, line);
  fclose(f);
}
int main(void) {
  static const char* const keys[] = {"Uid:", "Gid:", "Groups:", "NoNewPrivs:", "Seccomp:", "Seccomp_filters:", "Umask:", "SigIgn:", "CapInh:", "CapPrm:", "CapBnd:", "CapEff:", "CapAmb:", "NSpid:", "NSsid:", "PPid:"};
  enum { K = sizeof keys / sizeof *keys };
  char before[K][256], after[256], exe[256] = {0}, exe2[256] = {0}, name[16];
  struct rlimit core = {1234, 5678}, stack, now;
  EXPECT(!setrlimit(RLIMIT_CORE, &core) && !getrlimit(RLIMIT_STACK, &stack));
  prctl(PR_SET_NAME, "a-new-name");
  prctl(PR_SET_PDEATHSIG, SIGWINCH);
  prctl(PR_SET_CHILD_SUBREAPER, 1);
  EXPECT(readlink("/proc/self/exe", exe, 255) > 0);
  struct utsname host;
  uname(&host);
  for (int i = 0; i < K; i++) status_line(keys[i], before[i]);
  int dumpable = prctl(PR_GET_DUMPABLE);
  void* brk_before = sbrk(0);
  const int bits = prctl(PR_GET_SECUREBITS);
  ready();
  wait_for_go();
  for (int i = 0; i < K; i++) {
    status_line(keys[i], after);
    if (strcmp(before[i], after)) printf("before %safter %s", before[i], after);
    EXPECT(!strcmp(before[i], after));
  }
  EXPECT(!getrlimit(RLIMIT_CORE, &now) && now.rlim_cur == 1234 && now.rlim_max == 5678);
  EXPECT(!getrlimit(RLIMIT_STACK, &now) && now.rlim_cur == stack.rlim_cur);
  prctl(PR_GET_NAME, name);
  EXPECT(!strcmp(name, "a-new-name"));
  int v;
  prctl(PR_GET_PDEATHSIG, &v);
  EXPECT(v == SIGWINCH);
  prctl(PR_GET_CHILD_SUBREAPER, &v);
  EXPECT(v == 1);
  EXPECT(prctl(PR_GET_DUMPABLE) == dumpable);
  EXPECT(readlink("/proc/self/exe", exe2, 255) > 0 && !strcmp(exe, exe2));
  EXPECT(sbrk(0) == brk_before);
  struct utsname again;
  uname(&again);
  EXPECT(!strcmp(host.nodename, again.nodename));
  EXPECT(setuid(0) == -1 && errno == EPERM);
  EXPECT(prctl(PR_GET_SECUREBITS) == bits && prctl(PR_SET_SECUREBITS, SECBIT_NOROOT) == -1 && errno == EPERM);
  EXPECT(syscall(SYS_mount, "x", "/tmp", "tmpfs", 0, 0) == -1 && errno == EPERM);
  EXPECT(unshare(CLONE_NEWUSER) == -1);
  char cmdline[256] = {0};
  FILE* f = fopen("/proc/self/cmdline", "r");
  EXPECT(f && fread(cmdline, 1, 255, f) > 0 && strstr(cmdline, "identity"));
  return ok();
}
