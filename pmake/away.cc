#include "pmake/away.h"

#include <fmt/core.h>

#include <csignal>
#include <cstdlib>
#include <utility>

#include "cli/program.h"
#include "pmake/recipe.h"

namespace hob::pmake {
namespace {

/// A host that is silent for so long has lost the command: people wait for a build.
constexpr auto kPatience = seconds(20);
// As a shadow's (cli/shadow*.cc).
constexpr auto kAttachFor = seconds(30);
constexpr auto kInterruptAgain = seconds(1);
constexpr auto kSignalAnswer = seconds(5);
constexpr uint64_t kAckAfter = wire::kStreamWindow / 4;
constexpr auto kAckDelay = milliseconds(20);
/// The job's host knows that there is no input. One of an earlier version of hob does not.
constexpr auto kInputAgain = seconds(1);

Duration attach_for() {
  const char* text = ::getenv("REMOTE_ATTACH_SECONDS");
  return text != nullptr ? Duration(seconds(::atoi(text))) : Duration(kAttachFor);
}

bool machinery(const std::string& entry) {
  for (const std::string_view name :
       {kSocketVariable, kTargetVariable, kRulesVariable, kScriptsVariable, cli::kPlacedVariable})
    if (entry.size() > name.size() && entry[name.size()] == '=' && entry.starts_with(name))
      return true;
  return false;
}

}  // namespace

void Away::start(const DoorRequest& request, const std::vector<std::string>& command,
                 uint64_t lease, uint64_t recipe) {
  pb::Envelope envelope;
  pb::Run& run = *envelope.mutable_run();
  pb::Program& program = *run.mutable_program();
  for (const std::string& word : command) program.add_arguments(word);
  for (const std::string& entry : request.environment)
    if (!machinery(entry)) program.add_environment(entry);
  program.add_environment(std::string(cli::kPlacedVariable) + "=1");
  program.set_directory(request.directory);
  program.set_umask(request.umask);
  program.set_no_input(true);
  for (size_t i = 0; i < request.limits.size(); ++i) {
    pb::Limit* limit = program.add_limits();
    limit->set_resource(static_cast<int32_t>(i));
    limit->set_soft(request.limits[i].soft);
    limit->set_hard(request.limits[i].hard);
  }
  run.set_lease(lease);
  run.set_recipe(recipe);
  run.set_patience_ns(static_cast<uint64_t>(nanoseconds(kPatience).count()));
  send(std::move(envelope), true);
}

void Away::send(pb::Envelope envelope, bool answered) {
  events_.send({std::move(envelope), {}}, answered);
}

void Away::on_message(const wire::Message& message) {
  if (ended_) return;
  const pb::Envelope& envelope = message.envelope;
  if (ordered_ != 0 && envelope.answers() != 0 && (envelope.has_done() || envelope.has_failure())) {
    signal_limit_.reset();
    if (envelope.has_failure()) return not_reached();
    ordered_ = 0;
    return;
  }
  switch (envelope.body_case()) {
    case pb::Envelope::kAccepted:
      attach_limit_.reset();
      if (std::exchange(lost_, false)) {
        if (started_) end_input();
        return send_held();
      }
      job_ = envelope.accepted().job();
      return events_.on_job(job_);
    case pb::Envelope::kStarted:
      // The first time, or at a new place: what was under way to the old one may not have arrived.
      if (std::exchange(started_, true)) {
        for (const bool err : {false, true}) acknowledge(err);
        end_input();
      } else {
        input_again_ = loop_.after(kInputAgain, [this] { end_input(); });
      }
      return send_held();
    case pb::Envelope::kData:
      return on_data(envelope.data(), message.bulk);
    case pb::Envelope::kExited:
      return end({envelope.exited().status()});
    case pb::Envelope::kFailure:
      return end({0, envelope.failure().text(),
                  envelope.failure().kind() != pb::Failure::LOST && !started_});
    case pb::Envelope::kNote:
      if (envelope.note().silence()) events_.on_silence(envelope.note().text());
      return;
    default:
      return;  // other notes and what waits: nobody looks at them here
  }
}

// ---------------------------------------------------------------------------------- streams

void Away::on_data(const pb::Data& data, std::string_view bytes) {
  if (data.stream() != pb::STDOUT && data.stream() != pb::STDERR) return;
  started_ = true;
  send_held();
  keep(data.stream() == pb::STDERR, data.offset(), bytes, data.end());
}

void Away::keep(bool err, uint64_t offset, std::string_view bytes, bool end_of_stream) {
  Stream& s = stream(err);
  // Bytes that came before: their sender has not heard that they did, and may wait for that.
  if (offset < s.receiver.offset()) s.acked = std::min(s.acked, offset);
  if (auto taken = s.receiver.receive(offset, bytes, end_of_stream); !taken.ok())
    return fail(fmt::format("job {}: {}", job_, taken.error().text));
  if (const std::string_view ready = s.receiver.ready(); !ready.empty()) {
    if (output_.empty() || output_.back().err != err) output_.push_back({err, {}});
    output_.back().bytes.append(ready);
    s.receiver.consume(ready.size());
  }
  if (s.receiver.offset() - s.acked >= kAckAfter) return acknowledge(err);
  if (s.receiver.offset() > s.acked && !s.ack_timer)
    s.ack_timer = loop_.after(kAckDelay, [this, err] { acknowledge(err); });
}

void Away::acknowledge(bool err) {
  Stream& s = stream(err);
  s.ack_timer.reset();
  s.acked = s.receiver.offset();
  pb::Envelope envelope;
  pb::Ack& ack = *envelope.mutable_ack();
  ack.set_job(job_);
  ack.set_stream(err ? pb::STDERR : pb::STDOUT);
  ack.set_offset(s.acked);
  send(std::move(envelope));
}

void Away::end_input() {
  input_again_.reset();
  pb::Envelope envelope;
  pb::Data& data = *envelope.mutable_data();
  data.set_job(job_);
  data.set_stream(pb::STDIN);
  data.set_end(true);
  send(std::move(envelope));
}

// ---------------------------------------------------------------------------------- signals

void Away::on_signal(int signal) {
  if (ended_) return;
  switch (signal) {
    case SIGINT: {
      const Time now = Clock::now();
      interrupts_ =
          interrupts_ > 0 && now - last_interrupt_ < kInterruptAgain ? interrupts_ + 1 : 1;
      last_interrupt_ = now;
      if (interrupts_ < 3) return order_signal(interrupts_ == 1 ? SIGINT : SIGKILL);
      [[fallthrough]];  // not even that helped: hostd is left to clean up
    }
    case SIGKILL:
      abandon();
      return end({signal});
    case SIGTERM:
    case SIGHUP:
    case SIGQUIT:
      return order_signal(signal);
    default:
      return send_signal(signal, false);
  }
}

void Away::order_signal(int signal) {
  if (!started_ || lost_) {  // no job to tell, or nobody to tell it
    abandon();
    return end({signal});
  }
  ordered_ = signal;
  signal_limit_ = loop_.after(kSignalAnswer, [this] { not_reached(); });
  send_signal(signal, true);
}

void Away::send_signal(int signal, bool answered) {
  if (!started_ || lost_) return held_.push_back(signal);  // the job may run, and not have said so
  pb::Envelope envelope;
  envelope.mutable_signal()->set_job(job_);
  envelope.mutable_signal()->set_number(signal);
  send(std::move(envelope), answered);
}

void Away::send_held() {
  if (!started_ || lost_) return;
  for (const int signal : std::exchange(held_, {})) send_signal(signal, false);
}

/// The job has not got what was to end it: it is killed as soon as it can be.
void Away::not_reached() {
  const int signal = std::exchange(ordered_, 0);
  abandon();
  end({signal == 0 ? SIGTERM : signal});
}

void Away::abandon() {
  if (ended_ || job_.empty()) return;  // whoever gets Accepted too late ends it (build_door.cc)
  pb::Envelope envelope;
  envelope.mutable_kill_job()->set_job(job_);
  send(std::move(envelope));
}

// ---------------------------------------------------------------------------------- hostd

void Away::hostd_gone() {
  if (ended_ || lost_) return;
  if (job_.empty()) return end({0, "hostd on this machine has gone", true});
  if (ordered_ != 0) return not_reached();
  lost_ = true;
  attach_limit_ =
      loop_.after(attach_for(), [this] { fail("hostd on this machine did not come back"); });
}

void Away::hostd_back() {
  if (!lost_ || ended_) return;
  pb::Envelope envelope;
  pb::Attach& attach = *envelope.mutable_attach();
  attach.set_job(job_);
  attach.set_stdout_offset(stream(false).receiver.offset());
  attach.set_stderr_offset(stream(true).receiver.offset());
  send(std::move(envelope), true);
}

void Away::fail(std::string why) {
  abandon();
  end({0, std::move(why), !started_});
}

void Away::end(Ending ending) {
  if (std::exchange(ended_, true)) return;
  attach_limit_.reset();
  signal_limit_.reset();
  input_again_.reset();
  for (Stream& s : streams_) s.ack_timer.reset();
  // Later: this is called from within.
  loop_.defer([on_end = events_.on_end, ending = std::move(ending)] { on_end(ending); });
}

}  // namespace hob::pmake
