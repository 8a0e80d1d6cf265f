// pmake/build.h, the part that hears what the terminal and others want of the build.
#include <unistd.h>

#include <csignal>
#include <map>

#include "pmake/build.h"
#include "pmake/signals.h"

namespace hob::pmake {
namespace {

/// What is sent to all of a process group has come to all of it by then.
constexpr auto kGroupIsTold = milliseconds(50);
/// Between two looks whether make has taken a signal.
constexpr auto kLook = milliseconds(2);
/// Jobs that have just begun have said so by then, and can be stopped.
constexpr auto kStopIsTold = milliseconds(50);

}  // namespace

void Build::on_signal(int signal, bool from_terminal) {
  if (tool_ == Tool::launcher) return loop_.stop();
  if (signal == SIGCONT) {
    stop_.reset();
    return tell_away(SIGCONT);
  }
  if (signal == SIGTSTP) {
    tell_away(SIGSTOP);
    stop_ = loop_.after(kStopIsTold, [this] { stop(); });
    return;
  }
  // The terminal has told the tool and the recipes as well.
  if (from_terminal || tool_pid_ <= 0) return;
  // These the tool passes on itself; and a make that was interrupted ends of the next.
  const bool passed_on = tool_ != Tool::make || signal == SIGTERM || signal == SIGHUP;
  if (passed_on || interrupted_ != 0) return (void)::kill(tool_pid_, signal);
  // To all of a group, or to us alone?
  interrupt_ = loop_.after(kGroupIsTold, [this, signal] {
    if (catches(tool_pid_, signal)) interrupt(signal);
  });
}

/// As a terminal would, but for recipes at home: make waits for those.
void Build::interrupt(int signal) {
  interrupted_ = signal;
  ::kill(tool_pid_, signal);
  constexpr int kLooks = 500;
  interrupt_recipes(signal, kLooks);
}

/// When make has taken the signal. A recipe that ended at the same moment would be waited for
/// already when make's handler waits for it once more: "wait: No child processes", and 2 instead of
/// an end by the signal (make 4.3, job.c, reap_children).
void Build::interrupt_recipes(int signal, int looks) {
  if (looks > 0 && is_pending(tool_pid_, signal)) {
    interrupt_ =
        loop_.after(kLook, [this, signal, looks] { interrupt_recipes(signal, looks - 1); });
    return;
  }
  for (const auto& [number, line] : std::map(by_number_)) signal_line(line, signal);
}

void Build::signal_line(const LinePtr& line, int signal) {
  if (line->away) return line->away->on_signal(signal);
  const bool ends = signal == SIGINT || signal == SIGQUIT || signal == SIGTERM || signal == SIGHUP;
  if (!ends || line->placed || !line->visitor) return;
  line->visitor->tell(door::Kind::die, static_cast<uint32_t>(signal));
  end_recipe(*line);
  settle();
}

void Build::tell_away(int signal) {
  for (const auto& [number, line] : by_number_)
    if (line->away) line->away->on_signal(signal);
}

/// What is away stops for as long as we do. Whether the terminal's stop stops us the kernel
/// decides: not in a group that nobody could continue.
void Build::stop() {
  sigset_t stop;
  ::sigemptyset(&stop);
  ::sigaddset(&stop, SIGTSTP);
  ::raise(SIGTSTP);
  ::pthread_sigmask(SIG_UNBLOCK, &stop, nullptr);  // here, until we are continued
  ::pthread_sigmask(SIG_BLOCK, &stop, nullptr);
  tell_away(SIGCONT);
}

}  // namespace hob::pmake
