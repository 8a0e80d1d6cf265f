/* On a terminal of its own: settings, size, foreground group, session. */
#include "victim.h"
#include <fcntl.h>
#include <sys/ioctl.h>
#include <termios.h>
int main(void) {
  struct termios t, now;
  struct winsize size = {33, 77, 0, 0}, s;
  EXPECT(isatty(0) && !tcgetattr(0, &t));
  t.c_lflag &= ~(tcflag_t)(ECHO);
  t.c_cc[VERASE] = 8;
  EXPECT(!tcsetattr(0, TCSANOW, &t) && !ioctl(0, TIOCSWINSZ, &size));
  EXPECT(tcgetpgrp(0) == getpgrp() && tcgetsid(0) == getsid(0));
  int tty = open("/dev/tty", O_RDWR);
  EXPECT(tty >= 0);
  char name[64] = "", later[64] = "", byproc[64] = "";
  EXPECT(!ttyname_r(0, name, sizeof name) && !strncmp(name, "/dev/pts/", 9));
  ready();
  wait_for_go();
  EXPECT(isatty(0) && isatty(1) && !tcgetattr(0, &now));
  EXPECT(now.c_lflag == t.c_lflag && now.c_iflag == t.c_iflag && now.c_cc[VERASE] == 8);
  EXPECT(!ioctl(0, TIOCGWINSZ, &s) && s.ws_row == 33 && s.ws_col == 77);
  EXPECT(tcgetpgrp(0) == getpgrp() && tcgetsid(0) == getsid(0));
  EXPECT(!ttyname_r(0, later, sizeof later) && !strcmp(name, later) && !ttyname_r(1, later, sizeof later));
  EXPECT(readlink("/proc/self/fd/2", byproc, sizeof byproc - 1) > 0 && !strcmp(name, byproc));
  int again = open(name, O_RDWR | O_NOCTTY);
  EXPECT(again >= 0 && isatty(again) && tcgetsid(again) == getsid(0));
  EXPECT(write(tty, "by name\n", 8) == 8 && tcgetpgrp(tty) == getpgrp());
  return ok();
}
