// hostd/starter.h, the part that starts a guest, carries its streams, and reports its end.
#include <fmt/core.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <utility>

#include "base/log.h"
#include "hostd/convert.h"
#include "hostd/starter.h"
#include "migrate/cpu_features.h"

namespace hob::hostd {
namespace {

/// Exited, and what the shadow has not acknowledged, are repeated this often until home has them.
constexpr auto kRepeat = seconds(5);
/// How often a guest is looked at for what would keep it here.
constexpr auto kLook = seconds(5);

pb::Failure::Kind kind_of_start_error(const Error& error) {
  return error.code == ENOENT ? pb::Failure::NO_PROGRAM : pb::Failure::NOT_EXECUTABLE;
}

uint64_t cpu_of_children_ns() {
  rusage usage{};
  ::getrusage(RUSAGE_CHILDREN, &usage);
  const auto nanos = [](const timeval& t) {
    return static_cast<uint64_t>(t.tv_sec) * 1'000'000'000u +
           static_cast<uint64_t>(t.tv_usec) * 1000u;
  };
  return nanos(usage.ru_utime) + nanos(usage.ru_stime);
}

/// Where hosts differ, glibc shall choose its code by what all of them have.
void use_common_features(const std::string& common, std::vector<std::string>& environment) {
  constexpr std::string_view kTunables = "GLIBC_TUNABLES=";
  if (common.empty()) return;
  const migrate::CpuFeatures withheld =
      migrate::lacking(migrate::cpu_features(), migrate::features_of(common));
  if (withheld.empty()) return;
  const auto users = std::find_if(environment.begin(), environment.end(),
                                  [&](const std::string& v) { return v.starts_with(kTunables); });
  const std::string value = migrate::glibc_tunables(
      withheld, users == environment.end() ? "" : users->substr(kTunables.size()));
  if (value.empty()) return;  // glibc has no name for what differs
  if (users == environment.end()) {
    environment.push_back(std::string(kTunables) + value);
  } else {
    *users = std::string(kTunables) + value;
  }
}

}  // namespace

Result<void> Starter::make_relay(const pb::Program& program) {
  relay_ = TRY(
      StdioRelay::create(loop_, job_, program, identity_, *sandbox_, [this](wire::Message message) {
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
  if (!start.checkpoint().empty()) return on_restart(request);
  const auto launch = [&]() -> Result<pid_t> {
    migrate::Program program = TRY(program_of(start.program(), identity_));
    use_common_features(start.cpu_features(), program.environment);
    if (!furnished_for_.empty() && furnished_for_ != home_)
      return Error{"start a job: this sandbox has served another home", EINVAL};
    if (furnished_for_.empty()) {
      TRY(sandbox_->furnish(home_, offsets_against(start.clocks())));
      if (start.memory_limit() > 0) TRY(sandbox_->cgroup().limit_memory(start.memory_limit()));
      furnished_for_ = home_;
    }
    TRY(make_relay(start.program()));
    program.foreign = foreign();
    guest_.lowest_priority = foreign();
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
  if (auto watched = watch_root(); !watched.ok())
    log::error("job {}: {}", job_, watched.error().text);
  if (auto relaying = relay_->start(nullptr); !relaying.ok())
    log::error("job {}: {}", job_, relaying.error().text);
}

Result<void> Starter::watch_root() {
  // A connection on the way may have lost what it carried; its ends are back, but nobody else
  // repeats.
  resend_ = loop_.every(kRepeat, [this] {
    const uint64_t now = relay_ ? relay_->acknowledged() : 0;
    if (relay_ && relay_->waiting_for_acks() && now == acknowledged_before_) relay_->rewind();
    acknowledged_before_ = now;
  });
  if (foreign() && !keep_) look_ = loop_.every(kLook, [this] { look_ahead(); });
  root_watch_ = TRY(loop_.on_child_exit(guest_.root, [this](int status) { on_root_exit(status); }));
  return {};
}

void Starter::on_check(const pb::Envelope& request) {
  if (!running_)
    return channel_->answer(
        request, wire::failure(pb::Failure::NOT_FOUND, "check " + job_ + ": it does not run now"));
  guest_.sandbox = &*sandbox_;
  guest_.externals = relay_->externals();
  Result<migrate::Findings> found = migrate::examine(guest_);
  if (!found.ok())
    return channel_->answer(
        request, wire::failure(pb::Failure::INTERNAL, "check " + job_ + ": " + found.error().text));
  if (!request.check().table()) found->resources.clear();
  channel_->answer(request, checked(*found, options_.host));
}

void Starter::look_ahead() {
  // While it is frozen it is about to leave, and the move itself looks.
  if (!running_ || arrival_ || departing_) return;
  if (auto frozen = sandbox_->cgroup().freezing(); !frozen.ok() || *frozen) return;
  guest_.sandbox = &*sandbox_;
  guest_.externals = relay_->externals();
  auto found = migrate::look_ahead(guest_);
  if (!found.ok()) return log::debug("job {}: {}", job_, found.error().text);
  std::vector<std::string> now;
  for (migrate::Obstacle& obstacle : *found) now.push_back(std::move(obstacle.text));
  // What is there twice will stay for a while: a file that is locked for a moment is nobody's
  // concern.
  const bool lasting = !now.empty() && now == obstacles_seen_ && now != obstacles_told_;
  obstacles_seen_ = std::move(now);
  if (!lasting) return;
  obstacles_told_ = obstacles_seen_;
  pb::Envelope envelope;
  envelope.mutable_obstacles()->set_job(job_);
  for (const std::string& text : obstacles_told_) envelope.mutable_obstacles()->add_text(text);
  send(std::move(envelope));
}

void Starter::on_root_exit(int status) {
  if (departing_) {
    ended_meanwhile_ = status;  // the engine has the sandbox
    return;
  }
  // The job is its root process; what it leaves behind ends with it, and then the pipes are
  // complete.
  exit_status_ = status;
  running_ = false;
  reusable_ = look_reusable();
  if (!reusable_) {
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
      repeat_ =
          loop_.after(exit_request_ == 0 ? Duration(milliseconds(1)) : Duration(kRepeat), [this] {
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

/// Once its guest has ended: nobody is left who could change it.
bool Starter::look_reusable() {
  // A sandbox that took part in a migration has served its time.
  if (attempt_ != 0) return false;
  Result<bool> clean = sandbox_->clean();
  if (!clean.ok()) log::warning("job {}: {}", job_, clean.error().text);
  return clean.ok() && *clean;
}

void Starter::finish_exit() {
  if (!std::exchange(reusable_, false)) return leave();
  relay_.reset();
  repeat_.reset();
  root_watch_.reset();
  resend_.reset();
  exit_request_ = 0;
  exit_status_.reset();
  job_.clear();
  guest_ = {};
  look_.reset();
  obstacles_seen_.clear();
  obstacles_told_.clear();
  cpu_before_ns_ = cpu_of_children_ns();
  say_hello();
}

void Starter::leave() {
  resend_.reset();
  relay_.reset();
  if (sandbox_) {
    if (auto gone = sandbox_->destroy(); !gone.ok())
      log::error("job {}: {}", job_, gone.error().text);
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

}  // namespace hob::hostd
