/* Descriptors that tell of processes: pidfds of a child that lives, of one that is a zombie, of one that has been reaped;
 * signals on input; files of /proc; a file that never had a name. */
#include "victim.h"
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
static volatile sig_atomic_t came, from;
static void on_input(int signal, siginfo_t* info, void* context) {
  (void)signal, (void)context;
  came++;
  from = info->si_fd;
}
static int ended(int fd) {
  struct pollfd p = {.fd = fd, .events = POLLIN};
  EXPECT(poll(&p, 1, 0) >= 0);
  return p.revents & POLLIN;
}
static int pidfd_of(pid_t pid, unsigned flags) {
  int fd = (int)syscall(SYS_pidfd_open, pid, flags);
  EXPECT(fd >= 0);
  return fd;
}
int main(void) {
  int hold[2];
  EXPECT(!pipe(hold));
  pid_t pids[3];
  int fds[3];
  for (int i = 0; i < 3; i++) {
    pids[i] = fork();
    if (pids[i] == 0) {
      char c;
      close(hold[1]);
      if (i == 0) _exit(read(hold[0], &c, 1) == 0 ? 9 : 1);
      _exit(5 + i);
    }
    fds[i] = pidfd_of(pids[i], i == 0 ? O_NONBLOCK : 0);
  }
  siginfo_t info;
  EXPECT(!waitid(P_PID, (id_t)pids[1], &info, WEXITED | WNOWAIT));
  EXPECT(waitpid(pids[2], NULL, 0) == pids[2]);
  int self = pidfd_of(getpid(), 0);

  struct sigaction action = {.sa_sigaction = on_input, .sa_flags = SA_SIGINFO | SA_RESTART};
  EXPECT(!sigaction(SIGRTMIN + 3, &action, NULL));
  int pair[2], plain[2];
  EXPECT(!socketpair(AF_UNIX, SOCK_STREAM, 0, pair) && !pipe(plain));
  EXPECT(!fcntl(pair[0], F_SETSIG, SIGRTMIN + 3) && !fcntl(pair[0], F_SETOWN, getpid()));
  EXPECT(!fcntl(pair[0], F_SETFL, O_ASYNC | O_NONBLOCK));
  EXPECT(!fcntl(plain[0], F_SETOWN, -getpgrp()));

  int status_file = open("/proc/self/status", O_RDONLY), maps = open("/proc/self/maps", O_RDONLY);
  char path[64], text[4096];
  snprintf(path, sizeof path, "/proc/%d/stat", pids[0]);
  int theirs = open(path, O_RDONLY);
  EXPECT(status_file >= 0 && maps >= 0 && theirs >= 0 && read(status_file, text, 6) == 6);
  int unnamed = open("/tmp", O_TMPFILE | O_RDWR, 0640);
  EXPECT(unnamed >= 0 && write(unnamed, "never named", 11) == 11);
  ready();
  wait_for_go();
  EXPECT(!ended(fds[0]) && ended(fds[1]) && ended(fds[2]) && !ended(self));
  EXPECT(syscall(SYS_pidfd_send_signal, fds[0], 0, NULL, 0) == 0);
  EXPECT(syscall(SYS_pidfd_send_signal, fds[2], 0, NULL, 0) == -1 && errno == ESRCH);
  EXPECT(waitid(P_PIDFD, (id_t)fds[0], &info, WEXITED) == -1 && errno == EAGAIN);
  EXPECT(waitid(P_PIDFD, (id_t)fds[2], &info, WEXITED) == -1 && errno == ECHILD);
  EXPECT(!waitid(P_PIDFD, (id_t)fds[1], &info, WEXITED) && info.si_pid == pids[1] && info.si_status == 6);
  EXPECT(!close(hold[1]) && fcntl(fds[0], F_SETFL, 0) == 0);
  EXPECT(!waitid(P_PIDFD, (id_t)fds[0], &info, WEXITED) && info.si_pid == pids[0] && info.si_status == 9);

  EXPECT(came == 0 && fcntl(pair[0], F_GETSIG) == SIGRTMIN + 3 && fcntl(pair[0], F_GETOWN) == getpid());
  EXPECT(fcntl(pair[0], F_GETFL) & O_ASYNC && fcntl(plain[0], F_GETOWN) == -getpgrp());
  EXPECT(write(pair[1], "x", 1) == 1 && came == 1 && from == pair[0]);

  EXPECT(lseek(status_file, 0, SEEK_CUR) == 6 && read(status_file, text, 8) == 8);
  EXPECT(!memcmp(text, "notices", 7));
  ssize_t n = read(maps, text, sizeof text - 1);
  EXPECT(n > 0);
  text[n] = 0;
  EXPECT(strstr(text, "/notices") && !strstr(text, "hob"));
  EXPECT(read(theirs, text, 1) == -1 && errno == ESRCH);
  struct stat st;
  EXPECT(pread(unnamed, text, 64, 0) == 11 && !memcmp(text, "never named", 11) && !fstat(unnamed, &st));
  EXPECT(st.st_nlink == 0 && (st.st_mode & 0777) == 0640 && lseek(unnamed, 0, SEEK_CUR) == 11);
  return ok();
}
