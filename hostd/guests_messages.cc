// hostd/guests.h, the part that hears from starters.
#include <fmt/core.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <csignal>
#include <tuple>
#include <utility>

#include "base/log.h"
#include "hostd/guests.h"

namespace hob::hostd {
namespace {

/// So long it is not said that a job has started which takes no input.
constexpr auto kBrief = milliseconds(5);
/// How long a home may take to answer.
constexpr auto kHomeAnswer = seconds(5);
/// A starter that has served waits so long for the next job of its user and home.
constexpr auto kUnusedSpare = seconds(10);

}  // namespace

void Guests::on_starter_message(const GuestPtr& guest, wire::Message message) {
  pb::Envelope& envelope = message.envelope;
  if (guest->starter == 0 && !envelope.has_starter_hello()) return;
  if (envelope.answers() != 0) {
    auto it = guest->replies.find(envelope.answers());
    if (it == guest->replies.end()) return;
    Post::Reply reply = std::move(it->second);
    guest->replies.erase(it);
    if (envelope.has_started()) {
      guest->phase = Phase::running;
      open_group(*guest);
      if (foreign(*guest) && owner_present_) freeze(*guest), send_home(guest);
      if (guest->brief) {
        guest->started_later = loop_.after(
            kBrief, [reply = std::move(reply), started = std::move(envelope)]() mutable {
              reply(std::move(started));
            });
        return;
      }
    } else if (envelope.has_failure() && guest->phase != Phase::running) {
      guest->phase = Phase::done;  // of one that runs only a look at it has failed
      changed_();
    }
    return reply(std::move(envelope));
  }
  switch (envelope.body_case()) {
    case pb::Envelope::kStarterHello:
      return on_hello(guest, envelope.starter_hello());
    case pb::Envelope::kExited:
      if (guest->phase != Phase::done) {
        guest->phase = Phase::done;
        guest->started_later.reset();
        evictions_.left(guest->job);
        changed_();
        keep_spares();
      }
      return ask_home(guest, std::move(envelope));
    case pb::Envelope::kCommit:
      if (guest->phase == Phase::done) return;  // turned away, and not dead yet
      guest->commit_asked = true;
      return ask_home(guest, std::move(envelope));
    case pb::Envelope::kSettle:
      return ask_home(guest, std::move(envelope));
    case pb::Envelope::kArrived:
      if (guest->phase == Phase::done) return;
      guest->phase = Phase::running;
      open_group(*guest);
      if (foreign(*guest) && owner_present_) freeze(*guest), send_home(guest);
      break;
    case pb::Envelope::kDeparted:
      on_departed(guest, *envelope.mutable_departed());
      break;
    case pb::Envelope::kLost:
      guest->phase = Phase::done;
      changed_();
      break;
    case pb::Envelope::kData:
    case pb::Envelope::kAck:
    case pb::Envelope::kPagesIn:
    case pb::Envelope::kObstacles:
      break;
    default:
      return log::warning("job {}: its starter sent a message of kind {}", guest->job,
                          static_cast<int>(envelope.body_case()));
  }
  post_.send(guest->home, std::move(message));
}

void Guests::ask_home(const GuestPtr& guest, pb::Envelope envelope) {
  const uint64_t number = envelope.request();
  post_.request(guest->home, std::move(envelope), kHomeAnswer,
                [weak = std::weak_ptr<Guest>(guest), number](wire::Message answer) {
                  GuestPtr g = weak.lock();
                  if (!g || !g->channel) return;
                  answer.envelope.set_answers(number);
                  answer.envelope.set_request(0);
                  g->channel->send(std::move(answer));
                });
}

void Guests::on_hello(const GuestPtr& guest, const pb::StarterHello& hello) {
  if (hello.job().empty()) {
    // A new spare is ready, or one that has served is free again.
    if (guest->phase != Phase::done || guest->job.empty()) return;
    // One whose last guest ended while it was being frozen would freeze the next.
    if (guest->frozen) return drop_spare(*guest);
    guest->phase = Phase::spare;
    guest->job.clear();
    guest->command.clear();
    guest->evicting.clear();
    guest->suspended.clear();
    guest->again.reset();
    guest->replies.clear();
    guest->lead = {};
    guest->attempt = guest->lease = 0;
    guest->unused_limit = loop_.after(kUnusedSpare, [this, weak = std::weak_ptr<Guest>(guest)] {
      if (GuestPtr idle = weak.lock(); idle && idle->phase == Phase::spare) drop_spare(*idle);
    });
    return keep_spares();
  }
  guest->starter = static_cast<pid_t>(hello.pid());
  guest->job = hello.job();
  guest->home = hello.home();
  guest->identity = hello.identity();
  guest->lease = hello.lease();
  guest->attempt = hello.attempt();
  guest->keep = hello.keep();
  guest->cgroup = hello.cgroup();
  guest->phase = hello.running() ? Phase::running : Phase::arriving;
  guest->commit_asked = true;  // it may have, and home may have said yes
  guest->home_heard = Clock::now();
  guest->started_wall_ns = wall_ns();
  guest->pidfd.reset(static_cast<int>(::syscall(SYS_pidfd_open, guest->starter, 0)));
  const Result<void> watched = guest->pidfd
                                   ? watch_starter(guest)
                                   : Error::sys("watch", fmt::format("starter {}", guest->starter));
  if (!watched.ok()) {
    log::error("job {}: {}", guest->job, watched.error().text);
    return (void)std::erase(guests_, guest);
  }
  log::info("job {} of {}: taken over from an earlier hostd", guest->job, guest->home);
  if (guest->phase == Phase::running) {
    open_group(*guest);
    if (foreign(*guest) && owner_present_) {
      freeze(*guest);
      send_home(guest);
    } else {
      thaw(*guest);
    }
  }
  changed_();
}

void Guests::on_departed(const GuestPtr& guest, pb::Departed& departed) {
  const Duration since_frozen = Clock::now() - guest->frozen_at;
  if (departed.moved()) {
    guest->phase = Phase::done;
    expect_end(guest);
    departed.mutable_figures()->set_clean_ns(static_cast<uint64_t>(since_frozen.count()));
    departed.mutable_figures()->set_freeze_ns(departed.figures().freeze_ns() +
                                              static_cast<uint64_t>(guest->lead.count()));
    evictions_.left(guest->job);
    changed_();
    return;
  }
  guest->phase = Phase::running;
  if (departed.obstacles_size() > 0 && guest->leads_home) {
    guest->suspended = departed.obstacles(0);
    guest->evicting.clear();
    evictions_.stays(guest->job, guest->suspended);
  }
  if (!(foreign(*guest) && owner_present_)) return thaw(*guest);
  // The engine has given it back as it found it, which may have been before the owner came.
  const auto since = std::pair(guest->frozen_at, guest->frozen_wall_ns);
  const bool was_frozen = std::exchange(guest->frozen, false);
  freeze(*guest);
  if (was_frozen) std::tie(guest->frozen_at, guest->frozen_wall_ns) = since;
  if (!guest->evicting.empty()) ask_again(guest);
}
}  // namespace hob::hostd
