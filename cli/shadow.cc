#include "cli/shadow.h"

#include <fmt/core.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

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

Duration attach_for() {
  const char* text = ::getenv("REMOTE_ATTACH_SECONDS");
  return text != nullptr ? seconds(::atoi(text)) : kAttachFor;
}

}  // namespace

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

Shadow::Shadow(EventLoop& loop, RunOptions options, std::string socket)
    : loop_(loop), options_(std::move(options)), socket_path_(std::move(socket)) {}

Shadow::~Shadow() = default;

Ending Shadow::run() {
  take_signals();
  if (connect())
    while (!finished_) loop_.run_once(hours(1));
  raw_.reset();
  say_to_raw_terminal(false);
  for (const std::string& text : held_notes_) say(text);
  return *ending_;
}

bool Shadow::connect() {
  auto program = program_of(options_);
  if (!program.ok()) return fail(program.error().text, kRunFailed, false), false;
  auto socket = wire::connect_stream(socket_path_);
  if (!socket.ok()) {
    const std::string text = unreachable(socket.error());
    if (!options_.or_local) return fail(text, kRunFailed, false), false;
    note(text + " Running the command on this machine.");
    end_now({.status = execute_here(options_)});
    return false;
  }
  if (auto readable = check_input(); !readable.ok())
    return fail(readable.error().text, kRunFailed, false), false;
  open_channel(std::move(socket).value());
  pb::Envelope envelope;
  envelope.set_request(1);
  pb::Run& run = *envelope.mutable_run();
  *run.mutable_program() = std::move(program).value();
  run.set_host(options_.host);
  run.set_no_wait(options_.no_wait);
  run.set_or_local(options_.or_local);
  run.set_keep(options_.keep);
  run.set_local(options_.local);
  run.set_memory(options_.memory);
  run.set_checkpoint(options_.checkpoint);
  run.set_checkpoint_every_ns(static_cast<uint64_t>(options_.checkpoint_every.count()));
  run.set_lease(options_.lease);
  run.set_recipe(options_.recipe);
  run.set_patience_ns(static_cast<uint64_t>(options_.patience.count()));
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
  if (signal_request_ != 0 && envelope.answers() == signal_request_)
    return on_signal_answer(envelope);
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
      return note(envelope.note().text(), envelope.note().silence());
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
      return fail(failure.text(), kRunNoProgram, false);
    case pb::Failure::NOT_EXECUTABLE:
      return fail(failure.text(), kRunNotExecutable, false);
    case pb::Failure::LOST:
      return fail(failure.text());
    default:
      return fail(failure.text(), kRunFailed, started_);
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
    acknowledge_again();
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
    end({.status = kRunTimedOut});
  else if (WIFSIGNALED(status))
    end({.status = 128 + WTERMSIG(status), .signal = WTERMSIG(status)});
  else
    end({.status = WEXITSTATUS(status)});
}

void Shadow::on_close(const Error& reason) {
  if (phase_ == Phase::exited || finished_) return;
  channel_.reset();
  if (job_.empty())
    return fail(fmt::format("hostd on this machine did not take the job: {}", reason.text),
                kRunFailed, false);
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
  envelope.set_request(++last_request_);
  pb::Attach& attach = *envelope.mutable_attach();
  attach.set_job(job_);
  attach.set_stdout_offset(out_ ? out_->receiver.offset() : 0);
  attach.set_stderr_offset(err_ ? err_->receiver.offset() : 0);
  send(std::move(envelope));
}

void Shadow::on_attached() {
  attach_limit_.reset();
  unreachable_ = false;
  phase_ = started_ ? Phase::running : Phase::waiting;
  note(fmt::format("job {}: connected to hostd again", job_));
  sender_.rewind();
  send_input();
}

/// Ends the loop as soon as all output is written.
void Shadow::end(Ending ending) {
  ending_ = ending;
  if (!output_written()) return;
  if ((output_lost_ || input_lost_) && ending.signal == 0 && ending.status == 0)
    ending.status = kRunFailed;
  end_now(ending);
}

void Shadow::end_now(Ending ending) {
  ending_ = ending;
  finished_ = true;
}

void Shadow::fail(std::string_view text, int status, bool begun) {
  if (finished_) return;
  if (raw_) raw_.reset(), say_to_raw_terminal(false);
  if (!options_.tell_failure) say(text);
  phase_ = Phase::exited;
  input_.reset();
  end({status, 0, options_.tell_failure ? std::string(text) : "", !begun});
}

void Shadow::note(std::string_view text, bool silence) {
  if (options_.quiet && !silence) return;  // who waits for a host hears that it is silent
  // The screen belongs to the program on it: what can wait is said when it has ended.
  if (raw_) return held_notes_.emplace_back(text), void();
  say(text);
}

int run(const RunOptions& options) {
  auto loop = EventLoop::create();
  if (!loop.ok()) return say(loop.error().text), kRunFailed;
  const Ending ending = Shadow(**loop, options, hostd_socket()).run();
  if (ending.signal != 0) die_of(ending.signal);
  return ending.status;
}

}  // namespace hob::cli
