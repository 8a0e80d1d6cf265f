#include "hostd/starter.h"

#include <unistd.h>

#include <csignal>
#include <utility>

#include "base/log.h"

namespace hob::hostd {
namespace {

/// How long a foreign guest may run without a hostd that watches the owner.
constexpr auto kUnwatched = seconds(3);
constexpr auto kReconnect = milliseconds(100);
/// A question is asked again this often until home has answered it.
constexpr auto kRepeat = seconds(5);

}  // namespace

Result<std::unique_ptr<Starter>> Starter::create(EventLoop& loop, Options options, Fd channel) {
  std::unique_ptr<Starter> starter(new Starter(loop, std::move(options)));
  TRY(starter->connect(std::move(channel)));
  starter->sandbox_ = TRY(migrate::Sandbox::create(starter->options_.cgroup));
  starter->say_hello();
  return starter;
}

Starter::~Starter() = default;

Result<void> Starter::connect(Fd channel) {
  channel_ = TRY(wire::StreamChannel::create(
      loop_, std::move(channel),
      {[this](wire::Message message) { on_message(std::move(message)); },
       [this](const Error&) { loop_.defer([this] { on_channel_lost(); }); }}));
  return {};
}

void Starter::say_hello() {
  pb::Envelope envelope;
  pb::StarterHello* hello = envelope.mutable_starter_hello();
  hello->set_job(job_);
  hello->set_home(home_);
  hello->set_pid(static_cast<uint32_t>(::getpid()));
  hello->set_attempt(attempt_);
  hello->set_running(running_);
  hello->set_cgroup(options_.cgroup);
  *hello->mutable_identity() = identity_;
  hello->set_lease(lease_);
  hello->set_keep(keep_);
  send(std::move(envelope));
}

void Starter::on_channel_lost() {
  channel_.reset();
  if (job_.empty()) return leave();  // a spare nobody knows of
  log::warning("job {}: lost hostd; waiting for it to come back", job_);
  if (foreign() && running_)
    unwatched_ = loop_.after(kUnwatched, [this] {
      if (auto frozen = sandbox_->cgroup().freeze(); !frozen.ok())
        log::error("job {}: {}", job_, frozen.error().text);
      log::warning("job {}: frozen, because nobody watches for this host's owner", job_);
    });
  try_reconnect();
}

void Starter::try_reconnect() {
  reconnect_.reset();
  if (Result<Fd> socket = wire::connect_stream(options_.socket); socket.ok()) {
    if (Result<void> connected = connect(std::move(*socket)); connected.ok()) {
      unwatched_.reset();
      // If the guest was frozen: hostd knows the owner, and thaws it or sends it home.
      say_hello();
      if (relay_ && running_) relay_->rewind();
      if (exit_status_) report_exit();
      return;
    }
  }
  reconnect_ = loop_.after(kReconnect, [this] { try_reconnect(); });
}

void Starter::send(pb::Envelope envelope) {
  if (channel_) channel_->send(std::move(envelope));
}

pb::Envelope Starter::ask_until_answered(const pb::Envelope& question, Failures failures) {
  answer_.reset();
  awaited_failures_ = failures;
  Time again = Clock::now();
  while (!answer_) {
    if (channel_ && Clock::now() >= again) {
      pb::Envelope copy = question;
      awaited_ = next_request_++;
      copy.set_request(awaited_);
      send(std::move(copy));
      again = Clock::now() + kRepeat;
    }
    loop_.run_once(milliseconds(200));
  }
  awaited_ = 0;
  return *std::exchange(answer_, std::nullopt);
}

void Starter::on_message(wire::Message message) {
  pb::Envelope& envelope = message.envelope;
  const uint64_t answers = envelope.answers();
  if (answers != 0) {
    // UNREACHABLE is hostd's word that it could not ask home: asked again until home itself speaks.
    const bool no_answer =
        envelope.has_failure() && envelope.failure().kind() == pb::Failure::UNREACHABLE;
    if (answers == exit_request_ && !no_answer) return finish_exit();
    const bool ignored = envelope.has_failure() && awaited_failures_ == Failures::ignored;
    if (answers == awaited_ && !no_answer && !ignored) answer_ = std::move(envelope);
    return;
  }
  switch (envelope.body_case()) {
    case pb::Envelope::kStart:
      return on_start(envelope);
    case pb::Envelope::kReceive:
      return on_receive(envelope);
    case pb::Envelope::kDepart:
      return on_depart(envelope.depart());
    case pb::Envelope::kHurry:
      return on_hurry();
    case pb::Envelope::kCheck:
      return on_check(envelope);
    case pb::Envelope::kSignal:
      return on_signal(envelope.signal());
    case pb::Envelope::kData:
      if (relay_) relay_->on_data(envelope.data(), message.bulk);
      return;
    case pb::Envelope::kAck:
      if (relay_) relay_->on_ack(envelope.ack());
      if (exit_status_) report_exit();
      return;
    case pb::Envelope::kAttach:
      if (relay_) relay_->rewind();
      return;
    case pb::Envelope::kWindowSize:
      if (relay_) {
        if (auto resized = relay_->resize(envelope.window_size()); !resized.ok())
          log::warning("job {}: {}", job_, resized.error().text);
      }
      return;
    default:
      log::warning("job {}: unexpected message of kind {}", job_,
                   static_cast<int>(envelope.body_case()));
  }
}
}  // namespace hob::hostd
