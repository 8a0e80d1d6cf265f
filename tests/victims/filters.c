/* Seccomp filters of our own: of the whole process, one of them logging; one that a thread added for itself. They
 * refuse calls that somebody who looks at us could need, and still do so afterwards. In a child all threads have the
 * same ones, and can be given another all at once. */
#include "victim.h"
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
static int refuse(long call, int error, unsigned flags) {
  struct sock_filter code[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)call, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)error),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  struct sock_fprog program = {4, code};
  return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program);
}
static int refused(long call, int error) { return syscall(call, 0, 0, 0, 0, 0, 0) == -1 && errno == error; }
static int usual(void) {
  return refused(SYS_getppid, EBADE) && refused(SYS_prctl, EXFULL) && refused(SYS_sigaltstack, EL2HLT);
}
static pthread_barrier_t meeting;
static void* works(void* own) {
  if (own) EXPECT(refuse(SYS_getsid, ENOANO, 0) == 0);
  pthread_barrier_wait(&meeting);
  pthread_barrier_wait(&meeting);
  EXPECT(usual() && (own ? refused(SYS_getsid, ENOANO) : syscall(SYS_getsid, 0) > 0));
  return NULL;
}
static void* synchronised(void* unused) {
  pthread_barrier_wait(&meeting);
  EXPECT(usual());
  pthread_barrier_wait(&meeting);
  EXPECT(refused(SYS_getpgid, EREMCHG));
  return unused;
}
static int child(int from) {
  pthread_t thread;
  char c;
  pthread_barrier_init(&meeting, NULL, 2);
  EXPECT(!pthread_create(&thread, NULL, synchronised, NULL));
  EXPECT(read(from, &c, 1) == 1);
  pthread_barrier_wait(&meeting);
  EXPECT(usual() && refuse(SYS_getpgid, EREMCHG, SECCOMP_FILTER_FLAG_TSYNC) == 0);
  pthread_barrier_wait(&meeting);
  return pthread_join(thread, NULL);
}
int main(void) {
  pthread_t with, without;
  int status, channel[2];
  EXPECT(!prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) && !pipe(channel));
  EXPECT(refuse(SYS_prctl, EXFULL, 0) == 0 && refuse(SYS_sigaltstack, EL2HLT, SECCOMP_FILTER_FLAG_LOG) == 0);
  EXPECT(refuse(SYS_getppid, EBADE, 0) == 0);
  pid_t pid = fork();
  if (pid == 0) _exit(child(channel[0]));
  pthread_barrier_init(&meeting, NULL, 3);
  EXPECT(!pthread_create(&with, NULL, works, "own") && !pthread_create(&without, NULL, works, NULL));
  pthread_barrier_wait(&meeting);
  ready();
  wait_for_go();
  EXPECT(usual() && syscall(SYS_getsid, 0) > 0);
  pthread_barrier_wait(&meeting);
  EXPECT(!pthread_join(with, NULL) && !pthread_join(without, NULL));
  EXPECT(write(channel[1], "g", 1) == 1 && waitpid(pid, &status, 0) == pid && status == 0);
  return ok();
}
