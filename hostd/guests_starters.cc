// hostd/guests.h, the part that starts, keeps and buries starters.
#include <fmt/core.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

#include "base/log.h"
#include "hostd/child.h"
#include "hostd/guests.h"

namespace hob::hostd {
namespace {

/// A starter whose connection broke, or whose guest has left, has this long to end; then it is
/// killed.
constexpr auto kStarterGrace = seconds(2);
/// What is left of a starter that died is removed within this; processes take a moment to end.
constexpr auto kClearLimit = seconds(10);
constexpr auto kClearAgain = milliseconds(5);

}  // namespace

Result<Guests::GuestPtr> Guests::spawn() {
  auto [ours, theirs] = TRY(make_socket_pair(true));
  auto guest = std::make_shared<Guest>();
  guest->cgroup = fmt::format("{}/{}-{}", options_.cgroup, ::getpid(), next_cgroup_++);

  Child child = TRY(start_child(*starters_,
                                {options_.starter, guest->cgroup, options_.starter_socket,
                                 post_.own_name(), options_.address, options_.pages},
                                std::move(theirs)));
  guest->starter = child.pid;
  guest->pidfd = std::move(child.pidfd);
  guests_.push_back(guest);
  Result<void> ready = attach(guest, std::move(ours));
  if (ready.ok()) ready = watch_starter(guest);
  if (ready.ok()) return guest;
  ::kill(guest->starter, SIGKILL);
  ::waitpid(guest->starter, nullptr, 0);
  std::erase(guests_, guest);
  return std::move(ready).error();
}

Result<void> Guests::attach(const GuestPtr& guest, Fd channel) {
  std::weak_ptr<Guest> weak = guest;
  guest->channel = TRY(wire::StreamChannel::create(
      loop_, std::move(channel),
      {[this, weak](wire::Message message) {
         if (GuestPtr g = weak.lock()) on_starter_message(g, std::move(message));
       },
       [this, weak](const Error&) {
         GuestPtr g = weak.lock();
         if (!g) return;
         if (g->starter == 0) return (void)std::erase(guests_, g);  // a stranger on our socket
         if (g->phase == Phase::spare) g->phase = Phase::done;      // not to be taken any more
         expect_end(g);
       }}));
  return {};
}

void Guests::expect_end(const GuestPtr& guest) {
  guest->channel_limit = loop_.after(kStarterGrace, [weak = std::weak_ptr<Guest>(guest)] {
    if (GuestPtr late = weak.lock()) ::kill(late->starter, SIGKILL);
  });
}

Result<void> Guests::watch_starter(const GuestPtr& guest) {
  guest->exit_watch = TRY(loop_.watch(guest->pidfd.get(), EPOLLIN,
                                      [this, weak = std::weak_ptr<Guest>(guest)](uint32_t) {
                                        if (GuestPtr g = weak.lock()) on_starter_gone(g);
                                      }));
  return {};
}

void Guests::on_starter_gone(const GuestPtr& guest) {
  guest->exit_watch.reset();
  int status = 0;
  // Not our child if it outlived an earlier hostd; then somebody else reaps it.
  const bool ours = ::waitpid(guest->starter, &status, WNOHANG) == guest->starter;
  std::erase(guests_, guest);
  evictions_.left(guest->job);
  if (guest->phase != Phase::done && !guest->job.empty()) {
    const std::string how = ours && WIFSIGNALED(status)
                                ? fmt::format("was killed by signal {}", WTERMSIG(status))
                                : "ended unexpectedly";
    log::error("job {}: its starter {}", guest->job, how);
    pb::Envelope lost;
    lost.mutable_lost()->set_job(guest->job);
    if (guest->phase == Phase::arriving) lost.mutable_lost()->set_attempt(guest->attempt);
    lost.mutable_lost()->set_text(fmt::format("its starter on {} {}", post_.own_name(), how));
    post_.send(guest->home, std::move(lost));
  }
  for (auto& [number, reply] : guest->replies)
    reply(wire::failure(pb::Failure::INTERNAL, "the starter ended; see the log of hostd there"));
  guest->group.reset();
  clear_group(guest->cgroup, Clock::now() + kClearLimit);
  // A starter that ends at once would be started again at once, for ever.
  if (guest->phase != Phase::spare) keep_spares();
  changed_();
}

void Guests::clear_group(const std::string& path, Time limit) {
  clearing_.erase(path);
  // What a starter that ended well has removed itself is not there.
  Result<migrate::Cgroup> cgroup = migrate::Cgroup::open(path);
  if (!cgroup.ok()) return;
  Result<void> cleared = cgroup->kill();
  if (cleared.ok() && !cgroup->populated()) cleared = cgroup->remove();
  if (cleared.ok() && !migrate::Cgroup::open(path).ok()) return;
  if (Clock::now() > limit)
    return log::error("group {} cannot be removed: {}", path,
                      cleared.ok() ? "processes in it do not end" : cleared.error().text);
  clearing_[path] = loop_.after(kClearAgain, [this, path, limit] { clear_group(path, limit); });
}

Result<Guests::GuestPtr> Guests::take_spare(const std::string& home, const pb::Identity& identity,
                                            bool unused) {
  for (const GuestPtr& guest : guests_) {
    if (guest->phase != Phase::spare || !guest->used || unused) continue;
    if (guest->home == home && guest->identity.SerializeAsString() == identity.SerializeAsString())
      return guest;
  }
  for (const GuestPtr& guest : guests_)
    if (guest->phase == Phase::spare && guest->channel && guest->starter != 0 && !guest->used)
      return guest;
  return spawn();
}

void Guests::keep_spares() {
  size_t spares = 0;
  for (const GuestPtr& guest : guests_) {
    if (guest->phase != Phase::spare || guest->starter == 0) continue;
    if (!guest->used) ++spares;
    if (!spares_wanted_) drop_spare(*guest);
  }
  for (; spares_wanted_ && spares < options_.spares; ++spares)
    if (auto spare = spawn(); !spare.ok()) return log::error("{}", spare.error().text);
}

void Guests::drop_spare(Guest& spare) {
  spare.phase = Phase::done;  // before it is dead: nobody may take it meanwhile
  ::kill(spare.starter, SIGKILL);
}

void Guests::set_spares(bool wanted) {
  if (spares_wanted_ == wanted) return;
  spares_wanted_ = wanted;
  keep_spares();
}
}  // namespace hob::hostd
