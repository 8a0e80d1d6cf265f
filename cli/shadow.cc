#include "cli/shadow.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>

#include "cli/client.h"
#include "cli/program.h"
#include "cli/say.h"

namespace hob::cli {
namespace {

/// Grants are given within milliseconds when a host is idle: silence until it is worth a word.
constexpr Duration kWaitingSaidAfter = milliseconds(200);
/// How long a restart of hostd may take, its package upgrade included.
constexpr Duration kAttachFor = seconds(30);
constexpr Duration kAttachEvery = milliseconds(100);
/// A second Ctrl-C within this time means it.
constexpr Duration kInterruptAgain = seconds(1);
/// What is written is acknowledged when it is a quarter of the window, so that the writer never
/// waits for room, or after this time, so that little has to be kept for the next move.
constexpr uint64_t kAckAfter = wire::kStreamWindow / 4;
constexpr Duration kAckDelay = milliseconds(20);
/// How late input typed in the background may be noticed after `fg`.
constexpr Duration kForegroundCheck = milliseconds(200);
/// What is left of --timeout's patience after SIGTERM.
constexpr Duration kKillAfter = seconds(10);

pb::Envelope ack_of(const std::string& job, pb::Stream stream, uint64_t offset, bool closed) {
  pb::Envelope envelope;
  pb::Ack& ack = *envelope.mutable_ack();
  ack.set_job(job);
  ack.set_stream(stream);
  ack.set_offset(offset);
  ack.set_closed(closed);
  return envelope;
}

/// As the job died, so that our parent sees what it would see of the job. Leaves no core of its
/// own.
void die_of(int signal) {
  const rlimit none{};
  ::setrlimit(RLIMIT_CORE, &none);
  ::prctl(PR_SET_DUMPABLE, 0);  // a core_pattern with a pipe minds no limit, core(5)
  ::signal(signal, SIG_DFL);
  sigset_t set;
  ::sigemptyset(&set);
  ::sigaddset(&set, signal);
  ::sigprocmask(SIG_UNBLOCK, &set, nullptr);
  ::raise(signal);
  ::_exit(128 + signal);  // process 1 of a container does not die of its own signals
}

Duration attach_for() {
  const char* text = ::getenv("REMOTE_ATTACH_SECONDS");
  return text != nullptr ? seconds(::atoi(text)) : kAttachFor;
}

}  // namespace

Shadow::Shadow(EventLoop& loop, RunOptions options, std::string socket)
    : loop_(loop), options_(std::move(options)), socket_path_(std::move(socket)) {}

Shadow::~Shadow() = default;

Ending Shadow::run() {
  take_signals();
  if (connect())
    while (!finished_) loop_.run_once(hours(1));
  raw_.reset();
  say_to_raw_terminal(false);
  return *ending_;
}

// ---------------------------------------------------------------------------------- hostd

bool Shadow::connect() {
  auto program = program_of(options_);
  if (!program.ok()) return fail(program.error().text), false;
  auto socket = wire::connect_stream(socket_path_);
  if (!socket.ok()) {
    const std::string text = unreachable(socket.error());
    if (!options_.or_local) return fail(text), false;
    note(text + " Running the command on this machine.");
    end_now({execute_here(options_)});
    return false;
  }
  open_channel(std::move(socket).value());
  pb::Envelope envelope;
  envelope.set_request(1);
  pb::Run& run = *envelope.mutable_run();
  *run.mutable_program() = std::move(program).value();
  run.set_host(options_.host);
  run.set_no_wait(options_.no_wait);
  run.set_or_local(options_.or_local);
  run.set_keep(options_.keep);
  run.set_rerunnable(options_.rerunnable);
  run.set_local(options_.local);
  send(std::move(envelope));
  return true;
}

void Shadow::open_channel(Fd socket) {
  auto channel = wire::StreamChannel::create(
      loop_, std::move(socket),
      {[this](wire::Message message) { on_message(std::move(message)); },
       [this](const Error& reason) { on_close(reason); }});
  if (!channel.ok()) return fail(channel.error().text);
  channel_ = std::move(channel).value();
}

void Shadow::send(wire::Message message) {
  if (channel_) channel_->send(std::move(message));
}

void Shadow::on_message(wire::Message message) {
  const pb::Envelope& envelope = message.envelope;
  switch (envelope.body_case()) {
    case pb::Envelope::kAccepted:
      if (phase_ == Phase::lost) return on_attached();
      job_ = envelope.accepted().job();
      if (phase_ == Phase::asking) phase_ = Phase::waiting;
      if (options_.verbose) note(fmt::format("job {}", job_));
      return;
    case pb::Envelope::kWaiting:
      return on_waiting(envelope.waiting().reason());
    case pb::Envelope::kStarted:
      return on_started(envelope.started());
    case pb::Envelope::kNote:
      return note(envelope.note().text());
    case pb::Envelope::kData:
      return on_data(envelope.data(), message.bulk);
    case pb::Envelope::kAck: {
      if (envelope.ack().stream() != pb::STDIN) return;
      if (auto taken = sender_.acked(envelope.ack().offset(), envelope.ack().closed()); !taken.ok())
        return fail(fmt::format("job {}: {}", job_, taken.error().text));
      if (sender_.closed()) return input_closed();
      return send_input();
    }
    case pb::Envelope::kExited:
      return on_exited(envelope.exited());
    case pb::Envelope::kFailure:
      return on_failure(envelope.failure());
    default:
      return;  // of a later version: wire/hob.proto
  }
}

void Shadow::on_failure(const pb::Failure& failure) {
  switch (failure.kind()) {
    case pb::Failure::NO_PROGRAM:
      return fail(failure.text(), kRunNoProgram);
    case pb::Failure::NOT_EXECUTABLE:
      return fail(failure.text(), kRunNotExecutable);
    default:
      return fail(failure.text());
  }
}

void Shadow::on_waiting(const std::string& reason) {
  waiting_reason_ = reason;
  if (waiting_timer_) return;
  const bool first = waiting_said_.empty();
  waiting_timer_ = loop_.after(first ? kWaitingSaidAfter : Duration::zero(), [this] {
    waiting_timer_.reset();
    if (started_ || waiting_reason_ == waiting_said_) return;
    waiting_said_ = waiting_reason_;
    note("waiting: " + waiting_reason_);
  });
}

void Shadow::on_started(const pb::Started& started) {
  if (phase_ == Phase::exited) return;
  if (!started.job().empty()) job_ = started.job();
  phase_ = Phase::running;
  waiting_timer_.reset();
  if (options_.verbose) note(fmt::format("job {} runs on {}", job_, started.host()));
  if (started_) {
    // The job runs at a new place. What was under way to the old one may not have arrived.
    sender_.rewind();
    return send_input();
  }
  started_ = true;
  if (options_.terminal) {
    auto raw = RawTerminal::take(STDIN_FILENO);
    if (!raw.ok()) return fail(raw.error().text);
    raw_.emplace(std::move(raw).value());
    say_to_raw_terminal(true);
    send_window_size();  // it may have changed while the job waited
  }
  if (options_.time_limit)
    time_limit_ = loop_.after(*options_.time_limit, [this] { on_time_limit(); });
  start_input();
}

void Shadow::on_exited(const pb::Exited& exited) {
  if (phase_ == Phase::exited) return;
  phase_ = Phase::exited;
  input_.reset();
  const int status = exited.status();
  if (timed_out_)
    end({kRunTimedOut});
  else if (WIFSIGNALED(status))
    end({128 + WTERMSIG(status), WTERMSIG(status)});
  else
    end({WEXITSTATUS(status)});
}

void Shadow::on_close(const Error& reason) {
  if (phase_ == Phase::exited || finished_) return;
  channel_.reset();
  if (job_.empty())
    return fail(fmt::format("hostd on this machine did not take the job: {}", reason.text));
  if (phase_ != Phase::lost) {
    phase_ = Phase::lost;
    note(fmt::format("job {}: lost the connection to hostd on this machine; trying again", job_));
    attach_limit_ = loop_.after(attach_for(), [this] {
      fail(
          fmt::format("job {}: hostd on this machine did not come back; the job has been ended or "
                      "will be; `remote history {}` tells",
                      job_, job_));
    });
  }
  attach_timer_ = loop_.after(kAttachEvery, [this] { try_attach(); });
}

void Shadow::try_attach() {
  auto socket = wire::connect_stream(socket_path_);
  if (!socket.ok()) {
    attach_timer_ = loop_.after(kAttachEvery, [this] { try_attach(); });
    return;
  }
  open_channel(std::move(socket).value());
  pb::Envelope envelope;
  envelope.set_request(++attach_request_);
  pb::Attach& attach = *envelope.mutable_attach();
  attach.set_job(job_);
  attach.set_stdout_offset(out_ ? out_->receiver.offset() : 0);
  attach.set_stderr_offset(err_ ? err_->receiver.offset() : 0);
  send(std::move(envelope));
}

void Shadow::on_attached() {
  attach_limit_.reset();
  phase_ = started_ ? Phase::running : Phase::waiting;
  note(fmt::format("job {}: connected to hostd again", job_));
  sender_.rewind();
  send_input();
}

// ---------------------------------------------------------------------------------- streams

void Shadow::start_input() {
  if (options_.no_input) {
    sender_.end();
    return send_input();
  }
  input_.emplace(loop_, STDIN_FILENO, StandardStream::Direction::input);
  input_->when_ready([this] { read_input(); });
}

void Shadow::read_input() {
  if (input_->in_background()) {
    // A command that reads nothing is not stopped for being in the background; neither are we. The
    // shell does not tell when it brings us to the foreground, so look again.
    input_->pause();
    foreground_timer_ = loop_.after(kForegroundCheck, [this] {
      if (input_) input_->when_ready([this] { read_input(); });
    });
    return;
  }
  const size_t room = std::min(sender_.room(), wire::kStreamPiece);
  if (room == 0) return input_->pause();
  char buffer[wire::kStreamPiece];
  const StandardStream::Outcome outcome = input_->read(buffer, room);
  switch (outcome.kind) {
    case StandardStream::Outcome::Kind::blocked:
      return;
    case StandardStream::Outcome::Kind::moved:
      sender_.append({buffer, outcome.count});
      return send_input();
    case StandardStream::Outcome::Kind::end:
    case StandardStream::Outcome::Kind::failed:
      if (raw_) return hang_up();  // a raw terminal has no end but its own
      if (outcome.kind == StandardStream::Outcome::Kind::failed)
        note(Error::sys("read", "stdin", outcome.error).text);
      input_.reset();
      sender_.end();
      return send_input();
  }
}

/// The job reads no more. Whoever writes to our stdin must learn it, as from the job itself.
void Shadow::input_closed() {
  if (!input_) return;
  input_.reset();
  if (Fd null{::open("/dev/null", O_RDONLY | O_CLOEXEC)}; null) ::dup2(null.get(), STDIN_FILENO);
}

void Shadow::send_input() {
  if (phase_ != Phase::running) return;
  while (auto piece = sender_.piece()) {
    wire::Message message;
    pb::Data& data = *message.envelope.mutable_data();
    data.set_job(job_);
    data.set_stream(pb::STDIN);
    data.set_offset(piece->offset);
    data.set_end(piece->end);
    message.bulk = piece->bytes;
    send(std::move(message));
  }
  if (input_ && sender_.room() > 0) input_->when_ready([this] { read_input(); });
}

Shadow::Sink& Shadow::sink_of(pb::Stream stream) {
  std::optional<Sink>& sink = stream == pb::STDERR ? err_ : out_;
  if (!sink) sink.emplace(loop_, stream == pb::STDERR ? STDERR_FILENO : STDOUT_FILENO, stream);
  return *sink;
}

void Shadow::on_data(const pb::Data& data, std::string_view bytes) {
  if (data.stream() != pb::STDOUT && data.stream() != pb::STDERR) return;
  if (bytes.empty() && !data.end()) return;
  Sink& sink = sink_of(data.stream());
  if (auto taken = sink.receiver.receive(data.offset(), bytes, data.end()); !taken.ok())
    return fail(fmt::format("job {}: {}", job_, taken.error().text));
  write_output(sink);
}

void Shadow::write_output(Sink& sink) {
  while (!sink.receiver.ready().empty()) {
    const StandardStream::Outcome outcome = sink.target.write(sink.receiver.ready());
    if (outcome.kind == StandardStream::Outcome::Kind::moved) {
      sink.receiver.consume(outcome.count);
      continue;
    }
    if (outcome.kind == StandardStream::Outcome::Kind::blocked) {
      sink.target.when_ready([this, &sink] { write_output(sink); });
      return acknowledge(sink);
    }
    // Nobody reads any more: that is the job's to know, by EPIPE. Anything else loses output.
    if (outcome.error != EPIPE) {
      output_lost_ = true;
      say(Error::sys("write", sink.stream == pb::STDERR ? "stderr" : "stdout", outcome.error).text);
    }
    sink.receiver.close();
  }
  sink.target.pause();
  acknowledge(sink);
  if (ending_) end(*ending_);
}

void Shadow::acknowledge(Sink& sink) {
  const uint64_t offset = sink.receiver.offset();
  const auto now = [this, &sink] {
    sink.ack_timer.reset();
    sink.acked = sink.receiver.offset();
    send(ack_of(job_, sink.stream, sink.acked, sink.receiver.closed()));
  };
  if (offset - sink.acked >= kAckAfter || sink.receiver.closed()) return now();
  if (offset > sink.acked && !sink.ack_timer) sink.ack_timer = loop_.after(kAckDelay, now);
}

bool Shadow::output_written() const {
  return (!out_ || out_->receiver.ready().empty()) && (!err_ || err_->receiver.ready().empty());
}

// ---------------------------------------------------------------------------------- signals

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
  if (signal == SIGINT) return interrupt();
  send_signal(signal);
}

void Shadow::interrupt() {
  const Time now = Clock::now();
  interrupts_ = interrupts_ > 0 && now - last_interrupt_ < kInterruptAgain ? interrupts_ + 1 : 1;
  last_interrupt_ = now;
  switch (interrupts_) {
    case 1:
      return send_signal(SIGINT);
    case 2:
      return send_signal(SIGKILL);
    default:
      return end_now({128 + SIGINT, SIGINT});  // not even that helped: hostd is left to clean up
  }
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
  send_signal(timed_out_ ? SIGKILL : SIGTERM);
  if (!timed_out_) send_signal(SIGCONT);
  timed_out_ = true;
  time_limit_ = loop_.after(kKillAfter, [this] { on_time_limit(); });
}

// ---------------------------------------------------------------------------------- the end

/// Ends the loop as soon as all output is written.
void Shadow::end(Ending ending) {
  ending_ = ending;
  if (!output_written()) return;
  if (output_lost_ && ending.signal == 0 && ending.status == 0) ending.status = kRunFailed;
  end_now(ending);
}

void Shadow::end_now(Ending ending) {
  ending_ = ending;
  finished_ = true;
}

void Shadow::fail(std::string_view text, int status) {
  if (finished_) return;
  if (raw_) raw_.reset(), say_to_raw_terminal(false);
  say(text);
  phase_ = Phase::exited;
  input_.reset();
  end({status});
}

void Shadow::note(std::string_view text) {
  if (!options_.quiet) say(text);
}

int run(const RunOptions& options) {
  auto loop = EventLoop::create();
  if (!loop.ok()) return say(loop.error().text), kRunFailed;
  const Ending ending = Shadow(**loop, options, hostd_socket()).run();
  if (ending.signal != 0) die_of(ending.signal);
  return ending.status;
}

}  // namespace hob::cli
