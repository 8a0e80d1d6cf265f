// Signals, the terminal and time limits of a Shadow (cli/shadow.h).
#include <fcntl.h>
#include <fmt/core.h>
#include <unistd.h>

#include <csignal>
#include <utility>

#include "cli/say.h"
#include "cli/shadow.h"

namespace hob::cli {
namespace {

/// A second Ctrl-C within this time means it.
constexpr Duration kInterruptAgain = seconds(1);
/// What is left of --timeout's patience after SIGTERM.
constexpr Duration kKillAfter = seconds(10);
/// How long home may take to say whether the job can be reached; it gives the job's host 2 s.
constexpr Duration kSignalAnswer = seconds(5);

}  // namespace

void Shadow::take_signals() {
  terminal_of_session_.reset(::open("/dev/tty", O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC));
  // What was ignored when we were started (nohup, a shell's background) stays ignored.
  std::vector<int> signals{SIGWINCH, SIGCONT};
  for (int signal : {SIGINT, SIGQUIT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2, SIGTSTP}) {
    struct sigaction action {};
    if (::sigaction(signal, nullptr, &action) == 0 && action.sa_handler != SIG_IGN)
      signals.push_back(signal);
  }
  ::signal(SIGPIPE, SIG_IGN);
  auto taken = loop_.on_signals(std::move(signals), [this](int signal) { on_signal(signal); });
  CHECK(taken.ok());
  signals_ = std::move(taken).value();
}

void Shadow::on_signal(int signal) {
  switch (signal) {
    case SIGWINCH:
      return send_window_size();
    case SIGTSTP:
      return stop();
    case SIGCONT:
      return send_signal(SIGCONT);
    case SIGHUP:
      if (terminal_of_session_ && hung_up(terminal_of_session_.get())) return hang_up();
      break;
    default:
      break;
  }
  // No job to tell, or no job any more and a reader that does not read.
  if (!started_ || phase_ == Phase::exited) return end_now({128 + signal, signal});
  switch (signal) {
    case SIGINT:
      return interrupt();
    case SIGTERM:
    case SIGHUP:
    case SIGQUIT:
      return order_signal(signal);
    default:
      return send_signal(signal);
  }
}

void Shadow::interrupt() {
  if (unreachable_) return end_now({128 + SIGINT, SIGINT});
  const Time now = Clock::now();
  interrupts_ = interrupts_ > 0 && now - last_interrupt_ < kInterruptAgain ? interrupts_ + 1 : 1;
  last_interrupt_ = now;
  switch (interrupts_) {
    case 1:
      return order_signal(SIGINT);
    case 2:
      return order_signal(SIGKILL);
    default:
      return end_now({128 + SIGINT, SIGINT});  // not even that helped: hostd is left to clean up
  }
}

/// Ctrl-C in a raw terminal is one key among others, and goes to the job as such. If the job cannot
/// be reached it must still be a way out.
void Shadow::interrupt_key() {
  if (unreachable_) return end_now({128 + SIGINT, SIGINT});
  if (signal_request_ == 0) order_signal(0);
}

/// The terminal is gone, and with it the person: the job is told, and ends with us.
void Shadow::hang_up() {
  send_signal(SIGHUP);
  raw_.reset();
  end_now({128 + SIGHUP, SIGHUP});
}

/// Ctrl-Z. The job is stopped by SIGSTOP: it leads a session of its own, whose process groups are
/// orphaned, and there the kernel drops SIGTSTP (setpgid(2), credentials(7)).
void Shadow::stop() {
  send_signal(SIGSTOP);
  if (raw_) raw_->give_back();
  ::raise(SIGSTOP);
  if (raw_) raw_->take_again();
  // Continued: SIGCONT is waiting in the signalfd and goes to the job from there.
}

void Shadow::send_signal(int number) {
  if (phase_ != Phase::running) return;
  pb::Envelope envelope;
  envelope.mutable_signal()->set_job(job_);
  envelope.mutable_signal()->set_number(number);
  send(std::move(envelope));
}

void Shadow::order_signal(int number) {
  ordered_signal_ = number;
  if (phase_ == Phase::lost) return not_reached("hob-hostd on this machine does not answer");
  pb::Envelope envelope;
  envelope.set_request(signal_request_ = ++last_request_);
  envelope.mutable_signal()->set_job(job_);
  envelope.mutable_signal()->set_number(number);
  send(std::move(envelope));
  signal_limit_ = loop_.after(kSignalAnswer,
                              [this] { not_reached("hob-hostd on this machine does not answer"); });
}

void Shadow::on_signal_answer(const pb::Envelope& answer) {
  signal_request_ = 0;
  signal_limit_.reset();
  if (answer.has_failure()) return not_reached(answer.failure().text());
  unreachable_ = false;
}

/// The job has not got what was to end it. Nobody is to wait for a job that cannot answer: its host
/// kills it when it learns that its shadow is gone.
void Shadow::not_reached(std::string_view why) {
  signal_request_ = 0;
  signal_limit_.reset();
  if (phase_ == Phase::exited) return;
  const bool interrupted =
      ordered_signal_ == 0 || ordered_signal_ == SIGINT || ordered_signal_ == SIGKILL;
  if (interrupted && !timed_out_) {
    unreachable_ = true;
    return say(
        fmt::format("job {}: {}; Ctrl-C again ends `remote run`, and the job is killed as "
                    "soon as it can be",
                    job_, why));
  }
  raw_.reset();
  say_to_raw_terminal(false);
  say(fmt::format("job {}: {}; not waiting for it: it is killed as soon as it can be", job_, why));
  end_now(timed_out_ ? Ending{kRunTimedOut} : Ending{128 + ordered_signal_, ordered_signal_});
}

void Shadow::send_window_size() {
  if (!raw_ || phase_ != Phase::running) return;
  const TerminalSize size = terminal_size(STDIN_FILENO);
  pb::Envelope envelope;
  pb::WindowSize& window = *envelope.mutable_window_size();
  window.set_job(job_);
  window.set_rows(size.rows);
  window.set_columns(size.columns);
  send(std::move(envelope));
}

void Shadow::on_time_limit() {
  const bool again = std::exchange(timed_out_, true);
  time_limit_ = loop_.after(kKillAfter, [this] { on_time_limit(); });
  order_signal(again ? SIGKILL : SIGTERM);
  if (!again) send_signal(SIGCONT);
}

}  // namespace hob::cli
