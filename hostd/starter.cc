#include "hostd/starter.h"

#include <fmt/core.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

#include "base/log.h"
#include "hostd/convert.h"

namespace hob::hostd {
namespace {

/// How long a foreign guest may run without a hostd that watches the owner.
constexpr auto kUnwatched = seconds(3);
constexpr auto kReconnect = milliseconds(100);
/// Exited, and what the shadow has not acknowledged, are repeated this often until home has them.
constexpr auto kRepeat = seconds(5);
/// For each step of an arrival: the source connects, sends its image, ...
constexpr auto kPatience = seconds(30);

Error refused(const pb::Failure& failure) { return Error{failure.text(), EPERM}; }

pb::Failure::Kind kind_of_start_error(const Error& error) {
  return error.code == ENOENT ? pb::Failure::NO_PROGRAM : pb::Failure::NOT_EXECUTABLE;
}

pb::MoveFigures figures_of(const migrate::Report& report) {
  pb::MoveFigures figures;
  figures.set_freeze_ns(static_cast<uint64_t>(report.freeze.count()));
  figures.set_push_ns(static_cast<uint64_t>(report.push.count()));
  figures.set_pages_moved(report.pages_moved);
  figures.set_pages_demanded(report.pages_demanded);
  figures.set_image_bytes(report.image_bytes);
  figures.set_threads(report.threads);
  figures.set_processes(report.processes);
  return figures;
}

uint64_t cpu_of_children_ns() {
  rusage usage{};
  ::getrusage(RUSAGE_CHILDREN, &usage);
  const auto nanos = [](const timeval& t) {
    return static_cast<uint64_t>(t.tv_sec) * 1'000'000'000u + static_cast<uint64_t>(t.tv_usec) * 1000u;
  };
  return nanos(usage.ru_utime) + nanos(usage.ru_stime);
}

Result<migrate::LinkKey> link_key_of(const std::string& bytes) {
  migrate::LinkKey key;
  if (bytes.size() != key.size())
    return Error{fmt::format("prepare a migration: key of {} bytes instead of {}", bytes.size(),
                             key.size()), EINVAL};
  std::copy(bytes.begin(), bytes.end(), key.begin());
  return key;
}

}  // namespace

// ---------------------------------------------------------------------------------- the engine's questions

class Starter::Source final : public migrate::SourceHooks {
 public:
  Source(Starter& starter, uint64_t attempt) : starter_(starter), attempt_(attempt) {}
  std::string frozen() override {
    starter_.relay_->drain();
    return starter_.relay_->state().SerializeAsString();
  }
  bool settle() override {
    pb::Envelope question;
    question.mutable_settle()->set_job(starter_.job_);
    question.mutable_settle()->set_attempt(attempt_);
    return starter_.ask_until_answered(question).settled().committed();
  }

 private:
  Starter& starter_;
  uint64_t attempt_;
};

class Starter::Target final : public migrate::TargetHooks {
 public:
  explicit Target(Starter& starter) : starter_(starter) {}
  Result<void> attached(const std::string& bytes) override {
    if (!stdio_.ParseFromString(bytes))
      return Error{"take over the standard streams: damaged state", EINVAL};
    return {};
  }
  Result<void> commit() override {
    pb::Envelope question;
    question.mutable_commit()->set_job(starter_.job_);
    question.mutable_commit()->set_attempt(starter_.attempt_);
    const pb::Envelope answer = starter_.ask_until_answered(question);
    if (answer.has_failure()) return refused(answer.failure());
    return {};
  }
  const pb::StdioState& stdio() const { return stdio_; }

 private:
  Starter& starter_;
  pb::StdioState stdio_;
};

// ---------------------------------------------------------------------------------- connection

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

pb::Envelope Starter::ask_until_answered(const pb::Envelope& question) {
  answer_.reset();
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
    if (answers == awaited_ && !no_answer) answer_ = std::move(envelope);
    if (answers == exit_request_ && !no_answer) finish_exit();
    return;
  }
  switch (envelope.body_case()) {
    case pb::Envelope::kStart: return on_start(envelope);
    case pb::Envelope::kReceive: return on_receive(envelope);
    case pb::Envelope::kDepart: return on_depart(envelope.depart());
    case pb::Envelope::kSignal: return on_signal(envelope.signal());
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

// ---------------------------------------------------------------------------------- start

Result<void> Starter::make_relay(const pb::Program& program) {
  relay_ = TRY(StdioRelay::create(loop_, job_, program, identity_, *sandbox_, [this](wire::Message message) {
    if (channel_) channel_->send(std::move(message));
  }));
  return {};
}

void Starter::on_start(const pb::Envelope& request) {
  const pb::Start& start = request.start();
  job_ = start.job();
  home_ = start.home();
  identity_ = start.identity();
  lease_ = start.lease();
  keep_ = start.keep();
  guest_.user = credentials_of(identity_);
  const auto launch = [&]() -> Result<pid_t> {
    migrate::Program program = TRY(program_of(start.program(), identity_));
    if (!furnished_for_.empty() && furnished_for_ != home_)
      return Error{"start a job: this sandbox has served another home", EINVAL};
    if (furnished_for_.empty()) {
      TRY(sandbox_->furnish(home_, offsets_against(start.clocks())));
      if (start.memory_limit() > 0) TRY(sandbox_->cgroup().limit_memory(start.memory_limit()));
      furnished_for_ = home_;
    }
    TRY(make_relay(start.program()));
    program.foreign = foreign();
    return migrate::start(*sandbox_, program, relay_->take_guest_ends());
  };
  Result<pid_t> root = launch();
  if (!root.ok()) {
    channel_->answer(request, wire::failure(kind_of_start_error(root.error()), root.error().text));
    return leave();
  }
  guest_.root = *root;
  running_ = true;
  pb::Envelope started;
  started.mutable_started()->set_job(job_);
  started.mutable_started()->set_host(options_.host);
  channel_->answer(request, std::move(started));
  if (auto watched = watch_root(); !watched.ok()) log::error("job {}: {}", job_, watched.error().text);
  if (auto relaying = relay_->start(nullptr); !relaying.ok())
    log::error("job {}: {}", job_, relaying.error().text);
}

Result<void> Starter::watch_root() {
  // A connection on the way may have lost what it carried; its ends are back, but nobody else repeats.
  resend_ = loop_.every(kRepeat, [this] {
    const uint64_t now = relay_ ? relay_->acknowledged() : 0;
    if (relay_ && relay_->waiting_for_acks() && now == acknowledged_before_) relay_->rewind();
    acknowledged_before_ = now;
  });
  root_watch_ = TRY(loop_.on_child_exit(guest_.root, [this](int status) { on_root_exit(status); }));
  return {};
}

void Starter::on_root_exit(int status) {
  // The job is its root process; what it leaves behind ends with it, and then the pipes are complete.
  exit_status_ = status;
  running_ = false;
  if (!reusable()) {
    if (auto killed = sandbox_->cgroup().kill(); !killed.ok())
      log::warning("job {}: {}", job_, killed.error().text);
  }
  arrival_watch_.reset();
  arrival_.reset();
  relay_->drain();
  report_exit();
}

void Starter::report_exit() {
  // Members of the tree that were still being killed may have kept the pipes open a moment longer.
  relay_->drain();
  if (!relay_->finished() || exit_request_ != 0) {
    if (!repeat_) {
      repeat_ = loop_.after(exit_request_ == 0 ? Duration(milliseconds(1)) : Duration(kRepeat), [this] {
        repeat_.reset();
        if (std::exchange(exit_request_, 0) != 0) relay_->rewind();
        report_exit();
      });
    }
    return;
  }
  pb::Envelope envelope;
  exit_request_ = next_request_++;
  envelope.set_request(exit_request_);
  envelope.mutable_exited()->set_job(job_);
  envelope.mutable_exited()->set_status(*exit_status_);
  envelope.mutable_exited()->set_stdout_end(relay_->end_of(pb::STDOUT));
  envelope.mutable_exited()->set_stderr_end(relay_->end_of(pb::STDERR));
  envelope.mutable_exited()->set_cpu_ns(cpu_of_children_ns() - cpu_before_ns_);
  send(std::move(envelope));
  report_exit();  // arms the repetition
}

bool Starter::reusable() {
  // A sandbox that took part in a migration has served its time.
  if (attempt_ != 0) return false;
  Result<bool> clean = sandbox_->clean();
  if (!clean.ok()) log::warning("job {}: {}", job_, clean.error().text);
  return clean.ok() && *clean;
}

void Starter::finish_exit() {
  if (!reusable()) return leave();
  relay_.reset();
  repeat_.reset();
  root_watch_.reset();
  resend_.reset();
  exit_request_ = 0;
  exit_status_.reset();
  job_.clear();
  guest_ = {};
  cpu_before_ns_ = cpu_of_children_ns();
  say_hello();
}

void Starter::leave() {
  resend_.reset();
  relay_.reset();
  if (sandbox_) {
    if (auto gone = sandbox_->destroy(); !gone.ok()) log::error("job {}: {}", job_, gone.error().text);
  }
  loop_.stop();
}

void Starter::on_signal(const pb::Signal& signal) {
  if (!running_ || signal.number() <= 0 || signal.number() >= NSIG) return;
  if (signal.number() == SIGKILL) {
    if (auto killed = sandbox_->cgroup().kill(); !killed.ok())
      log::warning("job {}: {}", job_, killed.error().text);
    return;
  }
  const pid_t foreground = relay_->foreground();
  ::kill(foreground > 0 ? -foreground : -guest_.root, signal.number());
}

// ---------------------------------------------------------------------------------- moving

void Starter::on_receive(const pb::Envelope& request) {
  const pb::Receive& receive = request.receive();
  job_ = receive.job();
  home_ = receive.home();
  attempt_ = receive.attempt();
  identity_ = receive.identity();
  lease_ = receive.lease();
  keep_ = receive.keep();
  guest_.sandbox = &*sandbox_;
  guest_.user = credentials_of(identity_);
  const auto listen = [&]() -> Result<migrate::Listener> {
    const migrate::LinkKey key = TRY(link_key_of(receive.key()));
    if (!furnished_for_.empty()) return Error{"prepare a migration: not a new sandbox", EINVAL};
    TRY(sandbox_->furnish(home_, offsets_against(receive.clocks())));
    if (receive.memory_limit() > 0) TRY(sandbox_->cgroup().limit_memory(receive.memory_limit()));
    TRY(make_relay(receive.program()));
    return migrate::Listener::open(options_.address, key);
  };
  Result<migrate::Listener> listener = listen();
  if (!listener.ok()) {
    channel_->answer(request, wire::failure(pb::Failure::INTERNAL, listener.error().text));
    return leave();
  }
  pb::Envelope listening;
  listening.mutable_listening()->set_job(job_);
  listening.mutable_listening()->set_attempt(attempt_);
  listening.mutable_listening()->set_address(options_.address);
  listening.mutable_listening()->set_port(listener->port());
  channel_->answer(request, std::move(listening));

  guest_.externals = relay_->externals();
  guest_.lowest_priority = foreign();
  Target hooks(*this);
  Result<migrate::Arrival> arrival =
      migrate::Arrival::receive(std::move(*listener), guest_, hooks, kPatience);
  relay_->drop_guest_ends();
  if (!arrival.ok()) {
    pb::Envelope lost;
    lost.mutable_lost()->set_job(job_);
    lost.mutable_lost()->set_attempt(attempt_);
    lost.mutable_lost()->set_text(arrival.error().text);
    send(std::move(lost));
    return leave();
  }
  running_ = true;
  pb::Envelope arrived;
  arrived.mutable_arrived()->set_job(job_);
  arrived.mutable_arrived()->set_attempt(attempt_);
  arrived.mutable_arrived()->set_host(options_.host);
  send(std::move(arrived));
  if (auto watched = watch_root(); !watched.ok()) log::error("job {}: {}", job_, watched.error().text);
  if (auto relaying = relay_->start(&hooks.stdio()); !relaying.ok())
    log::error("job {}: {}", job_, relaying.error().text);

  arrival_.emplace(std::move(*arrival));
  Result<EventLoop::Handle> watch = loop_.watch(arrival_->done_fd(), EPOLLIN, [this](uint32_t) {
    arrival_watch_.reset();
    Result<migrate::Report> report = arrival_->finish();
    arrival_.reset();
    pb::Envelope envelope;
    envelope.mutable_pages_in()->set_job(job_);
    envelope.mutable_pages_in()->set_attempt(attempt_);
    if (report.ok()) {
      *envelope.mutable_pages_in()->mutable_figures() = figures_of(*report);
    } else {
      envelope.mutable_pages_in()->set_error(report.error().text);
    }
    send(std::move(envelope));
  });
  CHECK(watch.ok());
  arrival_watch_ = std::move(*watch);
}

void Starter::on_depart(const pb::Depart& depart) {
  if (!running_) return;  // it has just ended: Exited tells home
  pb::Envelope envelope;
  pb::Departed* departed = envelope.mutable_departed();
  departed->set_job(job_);
  departed->set_attempt(depart.attempt());
  const auto move = [&]() -> Result<migrate::Sent> {
    if (arrival_) return Error{"its pages are still arriving from its last move; try again", EBUSY};
    const migrate::LinkKey key = TRY(link_key_of(depart.key()));
    guest_.sandbox = &*sandbox_;
    guest_.externals = relay_->externals();
    Source hooks(*this, depart.attempt());
    return migrate::send(guest_, depart.address(), static_cast<uint16_t>(depart.port()), key, hooks);
  };
  Result<migrate::Sent> sent = move();
  if (!sent.ok()) {
    departed->set_text(sent.error().text);
  } else {
    departed->set_moved(sent->moved);
    for (const migrate::Obstacle& obstacle : sent->obstacles) departed->add_obstacles(obstacle.text);
    *departed->mutable_figures() = figures_of(sent->report);
    // The target knows too, and tells home what was lost; here it only matters that nothing stays.
    if (!sent->lost.empty()) departed->set_text(sent->lost);
  }
  if (departed->moved()) {
    // Gone before it is told: what home hears is that this host is clean.
    running_ = false;
    root_watch_.reset();
    if (auto gone = sandbox_->destroy(); !gone.ok()) departed->set_text(gone.error().text);
    sandbox_.reset();
  }
  send(std::move(envelope));
  if (departed->moved()) leave();
}

}  // namespace hob::hostd
