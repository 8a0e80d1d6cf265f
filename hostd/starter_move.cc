// hostd/starter.h, the part that sends its guest away, or receives it.
#include <fcntl.h>
#include <fmt/core.h>
#include <sys/epoll.h>

#include <algorithm>
#include <utility>

#include "base/log.h"
#include "hostd/convert.h"
#include "hostd/starter.h"
#include "migrate/checkpoint.h"
#include "migrate/files.h"

namespace hob::hostd {
namespace {

/// For each step of an arrival: the source connects, sends its image, ...
constexpr auto kPatience = seconds(30);
/// How often a thread is looked at that could not be stopped, and will be some time.
constexpr auto kLetGoAgain = milliseconds(50);

Error refused(const pb::Failure& failure) {
  return Error{failure.text(), EPERM};
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

Result<migrate::LinkKey> link_key_of(const std::string& bytes) {
  migrate::LinkKey key;
  if (bytes.size() != key.size())
    return Error{
        fmt::format("prepare a migration: key of {} bytes instead of {}", bytes.size(), key.size()),
        EINVAL};
  std::copy(bytes.begin(), bytes.end(), key.begin());
  return key;
}

}  // namespace

// ---------------------------------------------------------------------------------- the engine's
// questions

class Starter::Source final : public migrate::SourceHooks {
 public:
  Source(Starter& starter, uint64_t attempt) : starter_(starter), attempt_(attempt) {}
  std::string frozen() override { return starter_.relay_->depart().SerializeAsString(); }
  bool settle() override {
    pb::Envelope question;
    question.mutable_settle()->set_job(starter_.job_);
    question.mutable_settle()->set_attempt(attempt_);
    // Anything but the verdict itself is no reason to run again: two copies might live.
    return starter_.ask_until_answered(question, Failures::ignored).settled().committed();
  }
  bool hurry() override {
    // What hostd has said meanwhile, and the guest's output.
    starter_.loop_.run_once(milliseconds(0));
    return starter_.hurried_;
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
    return starter_.relay_->put_back(stdio_);
  }
  Result<void> commit() override {
    pb::Envelope question;
    question.mutable_commit()->set_job(starter_.job_);
    question.mutable_commit()->set_attempt(starter_.attempt_);
    const pb::Envelope answer = starter_.ask_until_answered(question, Failures::count);
    if (answer.has_failure()) return refused(answer.failure());
    return {};
  }
  const pb::StdioState& stdio() const { return stdio_; }

 private:
  Starter& starter_;
  pb::StdioState stdio_;
};

/// A guest from a checkpoint. Nobody else has it: there is nothing to be asked.
class Starter::Restarted final : public migrate::TargetHooks {
 public:
  Restarted(Starter& starter, bool again) : starter_(starter), again_(again) {}
  Result<void> attached(const std::string& bytes) override {
    if (!stdio_.ParseFromString(bytes))
      return Error{"take over the standard streams: damaged state", EINVAL};
    if (!again_) {
      // A new shadow counts from the beginning, and has a standard input of its own.
      stdio_.mutable_out()->set_offset(0);
      stdio_.mutable_err()->set_offset(0);
      stdio_.set_stdin_offset(0);
      stdio_.set_stdin_end(false);
    }
    return starter_.relay_->put_back(stdio_);
  }
  Result<void> commit() override { return {}; }
  const pb::StdioState& stdio() const { return stdio_; }

 private:
  Starter& starter_;
  bool again_;
  pb::StdioState stdio_;
};

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
  guest_.page_directory = options_.pages;
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
  follow(std::move(*arrival), hooks.stdio(), true);
}

void Starter::follow(migrate::Arrival arrival, const pb::StdioState& stdio, bool tell_pages) {
  if (auto watched = watch_root(); !watched.ok())
    log::error("job {}: {}", job_, watched.error().text);
  if (auto relaying = relay_->start(&stdio); !relaying.ok())
    log::error("job {}: {}", job_, relaying.error().text);

  arrival_.emplace(std::move(arrival));
  const auto on_done = [this, tell_pages](uint32_t) {
    arrival_watch_.reset();
    Result<migrate::Report> report = arrival_->finish();
    arrival_.reset();
    // The guest has been killed then: its end tells.
    if (!report.ok()) log::error("job {}: {}", job_, report.error().text);
    if (tell_pages) {
      pb::Envelope envelope;
      envelope.mutable_pages_in()->set_job(job_);
      envelope.mutable_pages_in()->set_attempt(attempt_);
      if (report.ok()) {
        *envelope.mutable_pages_in()->mutable_figures() = figures_of(*report);
      } else {
        envelope.mutable_pages_in()->set_error(report.error().text);
      }
      send(std::move(envelope));
    }
    if (const auto depart = std::exchange(depart_when_whole_, std::nullopt)) on_depart(*depart);
  };
  Result<EventLoop::Handle> watch = loop_.watch(arrival_->done_fd(), EPOLLIN, on_done);
  CHECK(watch.ok());
  arrival_watch_ = std::move(*watch);
}

void Starter::on_restart(const pb::Envelope& request) {
  const pb::Start& start = request.start();
  attempt_ = ~0ull;  // its sandbox is not for anybody else
  guest_.sandbox = &*sandbox_;
  Restarted hooks(*this, start.again());
  Duration ahead{0};
  const auto restart = [&]() -> Result<migrate::Arrival> {
    // Limits and priority of guests are those of moves; a checkpoint is for its home.
    if (foreign()) return Error{"checkpoints are restarted at home alone", EPERM};
    Fd file;
    {
      const migrate::AsUser rights(guest_.user);
      file = TRY(open_file(start.checkpoint(), O_RDONLY | O_NONBLOCK));
    }
    const auto checkpoint = TRY(migrate::CheckpointFile::read(std::move(file)));
    if (!furnished_for_.empty()) return Error{"restart: not a new sandbox", EINVAL};
    // After a reboot the host's clock is behind the guest's, which must not go back.
    ahead = std::max<Duration>(
        nanoseconds(checkpoint.monotonic()) - Clock::now().time_since_epoch() + milliseconds(1),
        Duration{0});
    if (ahead <= milliseconds(1)) ahead = Duration{0};
    TRY(sandbox_->furnish(home_, {ahead, ahead}));
    TRY(make_relay(start.program()));
    guest_.externals = relay_->externals();
    return migrate::Arrival::restart(checkpoint, guest_, hooks, kPatience);
  };
  Result<migrate::Arrival> arrival = restart();
  if (relay_) relay_->drop_guest_ends();
  if (!arrival.ok()) {
    channel_->answer(request, wire::failure(pb::Failure::NOT_EXECUTABLE,
                                            fmt::format("restart {}: {}", start.checkpoint(),
                                                        arrival.error().text)));
    return leave();
  }
  running_ = true;
  pb::Envelope started;
  started.mutable_started()->set_job(job_);
  started.mutable_started()->set_host(options_.host);
  started.mutable_started()->set_clock_ahead_ns(static_cast<uint64_t>(ahead.count()));
  channel_->answer(request, std::move(started));
  follow(std::move(*arrival), hooks.stdio(), false);
}

void Starter::on_hurry() {
  if (departing_) hurried_ = true;
  if (arrival_) arrival_->hurry();
}

void Starter::on_depart(const pb::Depart& depart) {
  if (!running_ || departing_) return;  // it has just ended: Exited tells home
  if (arrival_) {
    // Its pages are still on their way here: as soon as they are in.
    depart_when_whole_ = depart;
    return arrival_->hurry();
  }
  pb::Envelope envelope;
  pb::Departed* departed = envelope.mutable_departed();
  departed->set_job(job_);
  departed->set_attempt(depart.attempt());
  const auto move = [&]() -> Result<migrate::Sent> {
    const migrate::LinkKey key = TRY(link_key_of(depart.key()));
    const auto strategy = migrate::strategy_named(depart.memory());
    if (!depart.memory().empty() && !strategy)
      return Error{"move the guest: strategy '" + depart.memory() + "' is not one of ours", EINVAL};
    guest_.sandbox = &*sandbox_;
    guest_.externals = relay_->externals();
    Source hooks(*this, depart.attempt());
    migrate::SendOptions options;
    options.strategy = strategy.value_or(migrate::Strategy::swap_out);
    options.copy = depart.copy();
    return migrate::send(guest_, depart.address(), static_cast<uint16_t>(depart.port()), key, hooks,
                         options);
  };
  departing_ = true;
  hurried_ = false;
  Result<migrate::Sent> sent = move();
  departing_ = false;
  if (!sent.ok()) {
    departed->set_text(sent.error().text);
  } else {
    departed->set_moved(sent->moved);
    departed->set_saved(sent->saved);
    for (const migrate::Obstacle& obstacle : sent->obstacles)
      departed->add_obstacles(obstacle.text);
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
  if (!departed->moved()) {
    relay_->stay();
    let_go();
  }
  const bool moved = departed->moved();
  send(std::move(envelope));
  if (moved) return leave();
  if (ended_meanwhile_) on_root_exit(*std::exchange(ended_meanwhile_, std::nullopt));
}

void Starter::let_go() {
  if (migrate::let_go(guest_)) return let_go_again_.reset();
  let_go_again_ = loop_.after(kLetGoAgain, [this] { let_go(); });
}

}  // namespace hob::hostd
