#include <asm/termbits.h>
#include <sys/ioctl.h>

#include "migrate/parts.h"

// <asm/termbits.h> and <termios.h> define the same structure differently; ioctl needs the kernel's.
#ifndef TIOCGPGRP
#define TIOCGPGRP 0x540F
#endif

namespace hob::migrate {

/// The controlling terminal: settings, size and foreground process group, all read from the master,
/// which speaks for the slave. Bytes typed and not yet read stay in the source's line discipline.
Result<void> capture_terminal(const Guest& guest, const std::vector<CaptiveProcess>& processes,
                              Image& image) {
  for (const External& e : guest.externals) {
    if (e.kind != External::Kind::terminal) continue;
    termios2 settings;
    winsize size = {};
    if (::ioctl(e.starter_end, TCGETS2, &settings) < 0 ||
        ::ioctl(e.starter_end, TIOCGWINSZ, &size) < 0)
      return Error::sys("read the settings of", "the terminal");
    TerminalImage& out = image.terminal;
    const auto* bytes = reinterpret_cast<const std::byte*>(&settings);
    out.settings.assign(bytes, bytes + sizeof settings);
    out.rows = size.ws_row;
    out.columns = size.ws_col;
    out.present = 1;
    pid_t foreground = 0;  // as this host counts
    if (::ioctl(e.starter_end, TIOCGPGRP, &foreground) < 0) foreground = 0;
    for (const CaptiveProcess& process : processes) {
      if (process.node.terminal) out.session = process.node.session;
      if (foreground > 0 && process.stat.group == foreground) out.foreground = process.node.group;
    }
  }
  return {};
}

}  // namespace hob::migrate
