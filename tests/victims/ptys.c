/* Ptys whose both ends are here: one with a session, job control and bytes in flight both ways, one in packet mode and
 * raw, one that nobody has opened yet, one whose slave has been closed. */
#include "victim.h"
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>
static volatile sig_atomic_t resized, interrupted;
static void on_signal(int signal) {
  if (signal == SIGWINCH) resized++;
  if (signal == SIGINT) interrupted++;
}
static int master(char* name) {
  int fd = posix_openpt(O_RDWR | O_NOCTTY);
  EXPECT(fd >= 0 && !grantpt(fd) && !unlockpt(fd) && !ptsname_r(fd, name, 32));
  return fd;
}
static int says(int fd, const char* text) {
  char got[256];
  size_t have = 0;
  while (have < strlen(text)) {
    ssize_t n = read(fd, got + have, sizeof got - have);
    if (n <= 0) return 0;
    have += (size_t)n;
  }
  return have == strlen(text) && !memcmp(got, text, have);
}
static int events(int fd) {
  struct pollfd p = {.fd = fd, .events = POLLIN};
  EXPECT(poll(&p, 1, 0) >= 0);
  return p.revents;
}
#define CHILD(condition) do { if (!(condition)) _exit(__LINE__ % 256); } while (0)
static void session(const char* name, int go, int end, int said) {
  char line[64];
  signal(SIGWINCH, on_signal);
  CHILD(setsid() > 0);
  int tty = open(name, O_RDWR);
  CHILD(tty >= 0 && tcgetpgrp(tty) == getpid() && tcgetsid(tty) == getpid());
  int same = open("/dev/tty", O_RDWR);
  CHILD(same >= 0);
  int hold[2];
  CHILD(!pipe(hold));
  pid_t job = fork();
  if (job == 0) {
    /* in the foreground, to be interrupted from the keyboard */
    CHILD(!setpgid(0, 0));
    signal(SIGTTOU, SIG_IGN);
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGINT, &action, NULL);
    CHILD(!tcsetpgrp(tty, getpid()) && write(hold[1], "f", 1) == 1);
    CHILD(read(go, line, 1) == 1);
    CHILD(read(tty, line, sizeof line) == 6 && !memcmp(line, "typed\n", 6));
    CHILD(read(same, line, sizeof line) == 9 && !memcmp(line, "and more\n", 9));
    CHILD(write(tty, "got it\n", 7) == 7);
    while (!interrupted)
      if (read(tty, line, sizeof line) != -1 || errno != EINTR) _exit(250);
    _exit(7);
  }
  CHILD(read(hold[0], line, 1) == 1 && write(said, "s", 1) == 1);
  CHILD(read(end, line, 1) == 1);
  struct winsize size;
  CHILD(!ioctl(same, TIOCGWINSZ, &size) && size.ws_row == 33 && size.ws_col == 99 && size.ws_xpixel == 5);
  CHILD(tcgetpgrp(tty) == job && tcgetsid(same) == getpid() && resized == 0);
  char back[32];
  CHILD(!ttyname_r(tty, back, sizeof back) && !strcmp(back, name));
  int status;
  CHILD(waitpid(job, &status, 0) == job && WIFEXITED(status) && WEXITSTATUS(status) == 7);
  _exit(0);
}
int main(void) {
  char a_name[32], b_name[32], c_name[32], d_name[32], spare_name[32], text[256];
  int a = master(a_name), spare = master(spare_name), b = master(b_name), c = master(c_name), d = master(d_name);
  close(spare); /* a gap in the numbers */
  struct winsize size = {33, 99, 5, 7};
  EXPECT(!ioctl(a, TIOCSWINSZ, &size));
  int go[2], end[2], said[2];
  EXPECT(!pipe(go) && !pipe(end) && !pipe(said));
  pid_t child = fork();
  if (child == 0) session(a_name, go[0], end[0], said[1]);
  EXPECT(read(said[0], text, 1) == 1);

  int raw = open(b_name, O_RDWR | O_NOCTTY);
  struct termios settings;
  EXPECT(raw >= 0 && !tcgetattr(raw, &settings));
  cfmakeraw(&settings);
  settings.c_cc[VERASE] = 'Z';
  EXPECT(!tcsetattr(raw, TCSANOW, &settings));
  int on = 1;
  EXPECT(!ioctl(b, TIOCPKT, &on));
  EXPECT(write(b, "raw\x03\x7f", 5) == 5 && write(raw, "pack\n", 5) == 5);
  int closing = open(d_name, O_RDWR | O_NOCTTY);
  EXPECT(closing >= 0 && !close(closing) && events(d) & POLLHUP && events(c) == 0);
  /* Prints through the slave's output processing, and a line that is not finished. */
  int printer = open(a_name, O_WRONLY | O_NOCTTY);
  EXPECT(printer >= 0 && write(a, "typed\nand ", 10) == 10 && says(a, "typed\r\nand ") && write(printer, "one\ntwo\n", 8) == 8);
  ready();
  wait_for_go();
  EXPECT(says(a, "one\r\ntwo\r\n"));
  EXPECT(write(go[1], "g", 1) == 1);
  EXPECT(write(a, "more\n", 5) == 5 && says(a, "more\r\ngot it\r\n"));
  EXPECT(write(a, "\x03", 1) == 1 && says(a, "^C"));
  EXPECT(write(end[1], "g", 1) == 1);
  int status;
  EXPECT(waitpid(child, &status, 0) == child);
  EXPECT(WIFEXITED(status) && (errno = WEXITSTATUS(status)) == 0);

  EXPECT(fcntl(raw, F_GETFD) == 0 && fcntl(printer, F_GETFD) == 0 && fcntl(b, F_GETFD) == 0);
  EXPECT(!tcgetattr(raw, &settings) && settings.c_cc[VERASE] == 'Z' && !(settings.c_lflag & ICANON));
  EXPECT(read(raw, text, sizeof text) == 5 && !memcmp(text, "raw\x03\x7f", 5));
  EXPECT(read(b, text, sizeof text) == 6 && !memcmp(text, "\0pack\n", 6));
  int packets = 0;
  EXPECT(!ioctl(b, TIOCGPKT, &packets) && packets);
  char name[32];
  EXPECT(!ptsname_r(b, name, sizeof name) && !strcmp(name, b_name) && !ptsname_r(d, name, 32) && !strcmp(name, d_name));
  EXPECT(events(c) == 0 && (events(d) & POLLHUP) && read(d, text, 1) == -1 && errno == EIO);
  int late = open(c_name, O_RDWR | O_NOCTTY);
  EXPECT(late >= 0 && write(late, "late", 4) == 4 && says(c, "late"));
  return ok();
}
