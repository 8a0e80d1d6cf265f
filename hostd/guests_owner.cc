// hostd/guests.h, the part that keeps guests out of the owner's way.
#include <fmt/core.h>

#include <algorithm>
#include <csignal>
#include <utility>

#include "base/log.h"
#include "hostd/guests.h"
#include "migrate/proc.h"

namespace hob::hostd {
namespace {

/// How often a home is asked again to take its job back, and how long an answer may take.
constexpr auto kEvictAgain = seconds(2);
constexpr auto kLookAgain = milliseconds(20);
constexpr auto kHomeAnswer = seconds(5);
/// A starter whose guest is being started when the owner returns has this long to say that it runs.
constexpr auto kStartedLimit = milliseconds(100);

}  // namespace

void Guests::set_admission(Admission admission) {
  admission_ = std::move(admission);
}

void Guests::open_group(Guest& guest) {
  if (guest.group) return;  // its starter has served before
  Result<migrate::Cgroup> group = migrate::Cgroup::open(guest.cgroup);
  if (group.ok()) {
    guest.group.emplace(std::move(*group));
  } else {
    log::error("job {}: {}", guest.job, group.error().text);
  }
}

void Guests::freeze(Guest& guest) {
  if (guest.frozen) return;
  const Result<void> frozen =
      guest.group ? guest.group->freeze() : Result<void>(Error{"its cgroup is not known"});
  if (!frozen.ok()) {
    // Fail closed: what cannot be frozen may not stay.
    log::error("job {}: {}; killed, because it cannot be frozen", guest.job, frozen.error().text);
    ::kill(guest.starter, SIGKILL);
    return;
  }
  guest.frozen = true;
  guest.frozen_at = Clock::now();
  guest.frozen_wall_ns = wall_ns();
}

void Guests::hasten(const Guest& guest) {
  if (!guest.frozen || !guest.group) return;
  const Result<bool> stopped = guest.group->frozen();
  if (stopped.ok() && *stopped) return;
  if (Result<void> hastened = migrate::hasten_stop(*guest.group); !hastened.ok())
    log::warning("job {}: {}", guest.job, hastened.error().text);
}

void Guests::thaw(Guest& guest) {
  Result<void> thawed;
  if (guest.group && foreign(guest)) thawed = migrate::lower_priority(*guest.group);
  // Never a guest ahead of everything else: it stays frozen.
  if (!thawed.ok()) return log::error("job {}: {}; stays frozen", guest.job, thawed.error().text);
  thawed = guest.group ? guest.group->thaw() : Result<void>(Error{"its cgroup is not known"});
  if (!thawed.ok()) log::error("job {}: {}", guest.job, thawed.error().text);
  guest.frozen = false;
}

void Guests::leave_to_engine(const GuestPtr& guest) {
  if (!guest->frozen || !in_the_engines_hands(*guest)) return;
  if (auto thawed = guest->group->thaw(); !thawed.ok())
    log::error("job {}: {}", guest->job, thawed.error().text);
  guest->frozen = false;
  watch_engine(guest);
}

// If the engine lets it go again, which it need not tell: it does so between rounds.
void Guests::watch_engine(const GuestPtr& guest) {
  guest->again = loop_.after(kLookAgain, [this, weak = std::weak_ptr<Guest>(guest)] {
    const GuestPtr g = weak.lock();
    if (!g || g->phase != Phase::leaving || !owner_present_ || g->frozen) return;
    if (in_the_engines_hands(*g)) return watch_engine(g);
    freeze(*g);
    leave_to_engine(g);
  });
}

bool Guests::in_the_engines_hands(const Guest& guest) {
  const auto processes =
      guest.group ? guest.group->processes() : Result<std::vector<pid_t>>(std::vector<pid_t>{});
  if (!processes.ok()) return false;
  const auto free = std::count_if(processes->begin(), processes->end(), [](pid_t pid) {
    const auto status = migrate::proc::status({pid});
    return status.ok() && status->tracer == 0;
  });
  return processes->size() > 1 && free == 1;  // the sandbox's init
}

void Guests::owner_returned(const std::string& reason) {
  owner_present_ = true;
  unwelcome_ = reason;
  // All are stopped before the first message is sent.
  for (const GuestPtr& guest : guests_) {
    if (!foreign(*guest)) continue;
    // One that leaves still runs until the engine stops it.
    const bool leaves = guest->phase == Phase::leaving && !guest->frozen;
    if (guest->phase == Phase::running || leaves) freeze(*guest);
    if (leaves) leave_to_engine(guest);
  }
  for (const GuestPtr& guest : guests_)
    if (guest->phase == Phase::running && foreign(*guest)) hasten(*guest);
  for (const GuestPtr& guest : guests_)
    if (guest->phase == Phase::starting && foreign(*guest)) stop_start(guest);
  // These have not run here, and need not: their sources still have them. Once home has been asked,
  // home's answer decides.
  for (const GuestPtr& guest : guests_)
    if (guest->phase == Phase::arriving && foreign(*guest) && !guest->commit_asked)
      turn_away(*guest);
  for (const GuestPtr& guest : std::vector(guests_)) {
    if (guest->phase != Phase::running && guest->phase != Phase::leaving) continue;
    if (!foreign(*guest)) continue;
    guest->evicting = reason;
    if (guest->phase == Phase::running) {
      send_home(guest);
    } else {
      pb::Envelope envelope;
      envelope.mutable_hurry()->set_job(guest->job);
      guest->channel->send(std::move(envelope));
    }
  }
  set_spares(false);
}

void Guests::stop_start(const GuestPtr& guest) {
  Result<migrate::Cgroup> group = migrate::Cgroup::open(guest->cgroup);
  // A starter that has not even made its sandbox has not executed anything.
  if (!group.ok()) return give_up_start(*guest);
  guest->group.emplace(std::move(*group));
  freeze(*guest);
  // If its program was executed before the freeze, its starter says so now, and it goes home as
  // others do. If not, it never will be: home may start it elsewhere.
  guest->again = loop_.after(kStartedLimit, [weak = std::weak_ptr<Guest>(guest)] {
    if (GuestPtr g = weak.lock(); g && g->phase == Phase::starting) give_up_start(*g);
  });
}

void Guests::give_up_start(Guest& guest) {
  guest.phase = Phase::done;
  for (auto& [number, reply] : std::exchange(guest.replies, {}))
    reply(wire::failure(pb::Failure::STALE, "the owner is back"));
  ::kill(guest.starter, SIGKILL);
}

void Guests::turn_away(Guest& guest) {
  guest.phase = Phase::done;
  // Said first: its source only sees a link that ends.
  pb::Envelope lost;
  lost.mutable_lost()->set_job(guest.job);
  lost.mutable_lost()->set_attempt(guest.attempt);
  lost.mutable_lost()->set_text(
      fmt::format("{} took it no more: {}", post_.own_name(), unwelcome_));
  post_.send(guest.home, std::move(lost));
  ::kill(guest.starter, SIGKILL);
}

void Guests::ask_again(const GuestPtr& guest) {
  guest->again = loop_.after(kEvictAgain, [this, weak = std::weak_ptr<Guest>(guest)] {
    GuestPtr g = weak.lock();
    if (g && g->phase == Phase::running && !g->evicting.empty()) send_home(g);
  });
}

void Guests::owner_away() {
  owner_present_ = false;
  for (const GuestPtr& guest : std::vector(guests_)) {
    if (guest->phase != Phase::running || !guest->frozen || !foreign(*guest)) continue;
    guest->evicting.clear();
    guest->again.reset();
    thaw(*guest);
    pb::Envelope envelope;
    envelope.mutable_suspended()->set_job(guest->job);
    envelope.mutable_suspended()->set_resumed(true);
    guest->suspended.clear();
    post_.send(guest->home, std::move(envelope));
  }
}

void Guests::evict(const std::string& job, const std::string& reason, Evictions::OnEnd on_end) {
  std::vector<GuestPtr> all;
  std::set<std::string> names;
  for (const GuestPtr& guest : guests_) {
    if (!foreign(*guest) || guest->phase != Phase::running) continue;
    if (!job.empty() && guest->job != job) continue;
    all.push_back(guest);
    names.insert(guest->job);
  }
  if (all.empty() && !job.empty())
    return on_end(wire::failure(
        pb::Failure::NOT_FOUND,
        fmt::format("evict {}: no such guest on {}; see `remote ps`", job, post_.own_name())));
  evictions_.begin(std::move(names), std::move(on_end));
  for (const GuestPtr& guest : all) {
    if (guest->keep) {
      evictions_.stays(guest->job, "it was asked to wait here (--keep)");
      continue;
    }
    guest->suspended.clear();
    guest->evicting = reason;
    send_home(guest);
  }
}

void Guests::send_home(const GuestPtr& guest) {
  if (guest->evicting.empty()) guest->evicting = unwelcome_;
  if (guest->keep || !guest->suspended.empty()) {
    pb::Envelope envelope;
    envelope.mutable_suspended()->set_job(guest->job);
    envelope.mutable_suspended()->set_reason(
        guest->keep ? guest->evicting + "; it was asked to wait here (--keep)"
                    : guest->evicting + "; it cannot be moved: " + guest->suspended);
    return post_.send(guest->home, std::move(envelope));
  }
  pb::Envelope envelope;
  envelope.mutable_evict_request()->set_job(guest->job);
  envelope.mutable_evict_request()->set_reason(guest->evicting);
  envelope.mutable_evict_request()->set_frozen(guest->frozen);
  envelope.mutable_evict_request()->set_frozen_wall_ns(guest->frozen_wall_ns);
  std::weak_ptr<Guest> weak = guest;
  ask_again(guest);
  post_.request(
      guest->home, std::move(envelope), kHomeAnswer,
      [this, weak, job = guest->job](wire::Message answer) {
        GuestPtr g = weak.lock();
        if (!g || g->job != job || !answer.envelope.has_failure()) return;
        const pb::Failure& failure = answer.envelope.failure();
        if (failure.kind() == pb::Failure::STALE) {
          log::info("job {}: its home {} does not know it any more; killed", g->job, g->home);
          return kill(g);
        }
        log::warning("job {}: cannot go home to {} yet: {}", g->job, g->home, failure.text());
      });
}

// ---------------------------------------------------------------------------------- upkeep

void Guests::look_for_homes() {
  for (const GuestPtr& guest : std::vector(guests_)) {
    if (guest->job.empty() || guest->phase == Phase::spare || !foreign(*guest)) continue;
    const Duration patience =
        guest->patience > Duration::zero() ? guest->patience : options_.home_lost_after;
    if (Clock::now() - guest->home_heard > patience) {
      log::warning("job {}: its home {} has been silent for {} s; killed", guest->job, guest->home,
                   std::chrono::duration_cast<seconds>(patience).count());
      guest->phase = Phase::done;
      kill(guest);
      continue;
    }
    if (guest->phase == Phase::starting) continue;
    pb::Envelope envelope;
    envelope.mutable_where_is()->set_job(guest->job);
    post_.request(
        guest->home, std::move(envelope), kHomeAnswer,
        [this, weak = std::weak_ptr<Guest>(guest), job = guest->job](wire::Message answer) {
          GuestPtr g = weak.lock();
          if (!g || g->job != job) return;
          const pb::Envelope& e = answer.envelope;
          if (!e.has_failure()) {
            g->home_heard = Clock::now();
          } else if (e.failure().kind() == pb::Failure::STALE && g->phase == Phase::running) {
            log::info("job {}: its home {} does not know it any more; killed", g->job, g->home);
            kill(g);
          }
        });
  }
}

size_t Guests::foreign_count() const {
  return static_cast<size_t>(std::count_if(guests_.begin(), guests_.end(), [&](const GuestPtr& g) {
    return g->phase != Phase::spare && g->phase != Phase::done && foreign(*g);
  }));
}

std::vector<pb::JobStatus> Guests::list() const {
  std::vector<pb::JobStatus> jobs;
  for (const GuestPtr& guest : guests_) {
    if (guest->phase == Phase::spare || guest->phase == Phase::done || !foreign(*guest)) continue;
    pb::JobStatus status;
    status.mutable_job()->set_job(guest->job);
    status.mutable_job()->set_user(guest->identity.user());
    status.mutable_job()->set_uid(guest->identity.uid());
    status.mutable_job()->set_command(guest->command);
    status.mutable_job()->set_host(post_.own_name());
    status.mutable_job()->set_state(guest->phase == Phase::leaving ? pb::JobReport::MOVING
                                    : guest->frozen                ? pb::JobReport::SUSPENDED
                                                                   : pb::JobReport::RUNNING);
    status.set_home(guest->home);
    status.set_guest(true);
    status.set_reason(guest->evicting);
    status.set_started_wall_ns(guest->started_wall_ns);
    jobs.push_back(std::move(status));
  }
  return jobs;
}

std::vector<std::string> Guests::jobs() const {
  std::vector<std::string> names;
  for (const GuestPtr& guest : guests_)
    if (guest->phase != Phase::spare && guest->phase != Phase::done) names.push_back(guest->job);
  return names;
}

std::vector<pid_t> Guests::starter_pids() const {
  std::vector<pid_t> pids;
  for (const GuestPtr& guest : guests_) pids.push_back(guest->starter);
  return pids;
}

}  // namespace hob::hostd
