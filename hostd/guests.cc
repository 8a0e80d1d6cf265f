#include "hostd/guests.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>

#include "base/log.h"
#include "hostd/child.h"
#include "hostd/convert.h"

namespace hob::hostd {
namespace {

/// How long a home may take to answer.
constexpr auto kHomeAnswer = seconds(5);
/// A starter whose connection broke has this long to end; then it is killed.
constexpr auto kStarterGrace = seconds(2);
/// How often homes are asked whether they still know their guests here.
constexpr auto kLookForHomes = seconds(10);
/// A starter that has served waits so long for the next job of its user and home.
constexpr auto kUnusedSpare = seconds(10);
/// What is left of a starter that died is removed within this; processes take a moment to end.
constexpr auto kClearLimit = seconds(10);
constexpr auto kClearAgain = milliseconds(5);

/// "h0.17" is a number of h0: what keeps a host from giving its guests the names of another's jobs.
bool belongs_to(const std::string& job, const std::string& home) {
  const size_t dot = job.rfind('.');
  return dot != std::string::npos && job.substr(0, dot) == home && dot + 1 < job.size() &&
         job.find_first_not_of("0123456789", dot + 1) == std::string::npos;
}

/// The job that a message is about, or nothing for messages that are not about one.
const std::string* job_of(const pb::Envelope& envelope) {
  switch (envelope.body_case()) {
    case pb::Envelope::kStart: return &envelope.start().job();
    case pb::Envelope::kReceive: return &envelope.receive().job();
    case pb::Envelope::kDepart: return &envelope.depart().job();
    case pb::Envelope::kKill: return &envelope.kill().job();
    case pb::Envelope::kData: return &envelope.data().job();
    case pb::Envelope::kAck: return &envelope.ack().job();
    case pb::Envelope::kSignal: return &envelope.signal().job();
    case pb::Envelope::kWindowSize: return &envelope.window_size().job();
    case pb::Envelope::kAttach: return &envelope.attach().job();
    case pb::Envelope::kAbandon: return &envelope.abandon().job();
    case pb::Envelope::kWhereIs: return &envelope.where_is().job();
    default: return nullptr;
  }
}

}  // namespace

Guests::Guests(EventLoop& loop, Post& post, Options options, std::function<void()> changed)
    : loop_(loop), post_(post), options_(std::move(options)), changed_(std::move(changed)) {}

Guests::~Guests() = default;

Result<void> Guests::start() {
  // Beside the guests' groups, not in hostd's own: a service manager that stops or restarts hostd with all of its
  // group must not take starters along, and their work is not the owner's load.
  const std::string parent = options_.cgroup.substr(0, options_.cgroup.rfind('/'));
  starters_.emplace(TRY(migrate::Cgroup::open(parent + "/starters")));
  listener_ = TRY(wire::StreamListener::create(
      loop_, options_.starter_socket, 0600, [this](Fd socket) {
        auto guest = std::make_shared<Guest>();
        guests_.push_back(guest);
        if (auto attached = attach(guest, std::move(socket)); !attached.ok())
          log::error("{}", attached.error().text);
      }));
  home_timer_ = loop_.every(kLookForHomes, [this] { look_for_homes(); });
  return {};
}

// ---------------------------------------------------------------------------------- starters

Result<Guests::GuestPtr> Guests::spawn() {
  auto [ours, theirs] = TRY(make_socket_pair(true));
  auto guest = std::make_shared<Guest>();
  guest->cgroup = fmt::format("{}/{}-{}", options_.cgroup, ::getpid(), next_cgroup_++);

  Child child = TRY(start_child(*starters_, {options_.starter, guest->cgroup, options_.starter_socket,
                                            post_.own_name(), options_.address}, std::move(theirs)));
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
         if (g->phase == Phase::spare) g->phase = Phase::done;  // not to be taken any more
         g->channel_limit = loop_.after(kStarterGrace, [weak] {
           if (GuestPtr late = weak.lock()) ::kill(late->starter, SIGKILL);
         });
       }}));
  return {};
}

Result<void> Guests::watch_starter(const GuestPtr& guest) {
  guest->exit_watch = TRY(loop_.watch(
      guest->pidfd.get(), EPOLLIN, [this, weak = std::weak_ptr<Guest>(guest)](uint32_t) {
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
  if (guest->phase != Phase::done && !guest->job.empty()) {
    const std::string how = ours && WIFSIGNALED(status)
                                ? fmt::format("was killed by signal {}", WTERMSIG(status))
                                : "ended unexpectedly";
    log::error("job {}: its starter {}", guest->job, how);
    pb::Envelope lost;
    lost.mutable_lost()->set_job(guest->job);
    if (guest->phase == Phase::arriving) lost.mutable_lost()->set_attempt(guest->attempt);
    lost.mutable_lost()->set_text(
        fmt::format("its starter on {} {}", post_.own_name(), how));
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

Result<Guests::GuestPtr> Guests::take_spare(const std::string& home,
                                            const pb::Identity& identity, bool unused) {
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

Guests::GuestPtr Guests::find(const std::string& job) {
  if (job.empty()) return nullptr;
  for (const GuestPtr& guest : guests_)
    if (guest->job == job && guest->phase != Phase::done) return guest;
  return nullptr;
}

// ---------------------------------------------------------------------------------- from home

bool Guests::on_message(const std::string& from, wire::Message& message, const Post::Reply& reply) {
  const pb::Envelope& envelope = message.envelope;
  const std::string* job = job_of(envelope);
  if (job == nullptr) return false;
  if (envelope.has_start() || envelope.has_receive()) return begin(from, message, reply), true;
  // On a host that is home itself both directions pass here; the stream tells which this is.
  if (envelope.has_data() && envelope.data().stream() != pb::STDIN) return false;
  if (envelope.has_ack() && envelope.ack().stream() == pb::STDIN) return false;
  GuestPtr guest = find(*job);
  if (envelope.has_where_is() && !guest)
    // It has ended, and its starter is still telling home so.
    for (const GuestPtr& ended : guests_)
      if (ended->job == *job && ended->phase == Phase::done) guest = ended;
  if (!guest || guest->home != from) return false;
  guest->home_heard = Clock::now();
  switch (envelope.body_case()) {
    case pb::Envelope::kWhereIs: reply(wire::done()); break;
    case pb::Envelope::kKill: kill(guest); break;
    case pb::Envelope::kAbandon:
      if (guest->phase == Phase::arriving && guest->attempt == envelope.abandon().attempt()) {
        guest->phase = Phase::done;
        kill(guest);
      }
      break;
    case pb::Envelope::kDepart: depart(guest, std::move(message)); break;
    default: guest->channel->send(std::move(message));
  }
  return true;
}

void Guests::begin(const std::string& from, wire::Message& message, const Post::Reply& reply) {
  pb::Envelope& envelope = message.envelope;
  const bool starts = envelope.has_start();
  const std::string job = starts ? envelope.start().job() : envelope.receive().job();
  const std::string home = starts ? envelope.start().home() : envelope.receive().home();
  const pb::Identity& identity =
      starts ? envelope.start().identity() : envelope.receive().identity();
  if (!belongs_to(job, home))
    return reply(wire::failure(pb::Failure::USAGE, "the job's number is not one of its home"));
  if (home != from)
    return reply(wire::failure(pb::Failure::NOT_PERMITTED, "only its home may start a job"));
  if (find(job)) return reply(wire::failure(pb::Failure::STALE, "the job is here already"));
  if (home != post_.own_name()) {
    Admission admission = admission_;
    admission.guests = foreign_count();
    const auto refusal =
        starts ? admission.refuse(home, identity, envelope.start().lease(),
                                  envelope.start().token(), envelope.start().expires_wall_ns(),
                                  WallClock::now())
               : admission.refuse(home, identity, envelope.receive().lease(),
                                  envelope.receive().token(), envelope.receive().expires_wall_ns(),
                                  WallClock::now());
    if (refusal)
      return reply(wire::failure(refusal->kind,
                                 fmt::format("{}: {}", post_.own_name(), refusal->text)));
  }
  if (home != post_.own_name())
    admission_.confine_groups(starts ? *envelope.mutable_start()->mutable_identity()
                                     : *envelope.mutable_receive()->mutable_identity());
  Result<GuestPtr> taken = take_spare(home, identity, !starts);
  if (!taken.ok()) return reply(wire::failure(pb::Failure::INTERNAL, taken.error().text));
  GuestPtr guest = *taken;
  guest->job = job;
  guest->home = home;
  guest->identity = identity;
  guest->used = true;
  guest->unused_limit.reset();
  guest->home_heard = Clock::now();
  guest->started_wall_ns = wall_ns();
  guest->phase = starts ? Phase::starting : Phase::arriving;
  if (starts) {
    guest->lease = envelope.start().lease();
    guest->keep = envelope.start().keep();
    guest->command = command_line(envelope.start().program());
    if (foreign(*guest)) envelope.mutable_start()->set_memory_limit(options_.memory_limit);
  } else {
    guest->lease = envelope.receive().lease();
    guest->attempt = envelope.receive().attempt();
    guest->keep = envelope.receive().keep();
    guest->command = command_line(envelope.receive().program());
    if (foreign(*guest)) envelope.mutable_receive()->set_memory_limit(options_.memory_limit);
  }
  pass_to_starter(guest, std::move(message), reply);
  if (foreign(*guest)) changed_();
}

void Guests::pass_to_starter(const GuestPtr& guest, wire::Message message,
                             const Post::Reply& reply) {
  const uint64_t number = next_request_++;
  message.envelope.set_request(number);
  guest->replies[number] = reply;
  guest->channel->send(std::move(message));
}

void Guests::kill(const GuestPtr& guest) {
  // The starter first: it must not see its guest die and report an exit nobody wants. The cgroup goes
  // with it (on_starter_gone).
  if (guest->phase != Phase::done && guest->phase != Phase::arriving) guest->phase = Phase::done;
  ::kill(guest->starter, SIGKILL);
}

void Guests::kill_all() {
  for (const GuestPtr& guest : std::vector(guests_))
    if (guest->starter != 0) kill(guest);
}

void Guests::depart(const GuestPtr& guest, wire::Message message) {
  if (guest->phase != Phase::running) return;
  guest->phase = Phase::leaving;
  guest->again.reset();
  guest->attempt = message.envelope.depart().attempt();
  // Frozen by us before the engine begins, so that there is no moment at which the owner's return would
  // have to freeze a guest in the engine's hands.
  freeze(*guest);
  hasten(*guest);
  guest->lead = Clock::now() - guest->frozen_at;
  guest->channel->send(std::move(message));
}

// ---------------------------------------------------------------------------------- from the starter

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
    } else if (envelope.has_failure()) {
      guest->phase = Phase::done;
      changed_();
    }
    return reply(std::move(envelope));
  }
  switch (envelope.body_case()) {
    case pb::Envelope::kStarterHello: return on_hello(guest, envelope.starter_hello());
    case pb::Envelope::kExited:
      if (guest->phase != Phase::done) {
        guest->phase = Phase::done;
        changed_();
        keep_spares();
      }
      return ask_home(guest, std::move(envelope));
    case pb::Envelope::kCommit:
      // The owner came back while it was arriving. It has not run here, and need not: its source still
      // has it. Once home has been asked, home's answer decides.
      if (foreign(*guest) && owner_present_ && !std::exchange(guest->commit_asked, true))
        return (void)::kill(guest->starter, SIGKILL);
      guest->commit_asked = true;
      return ask_home(guest, std::move(envelope));
    case pb::Envelope::kSettle: return ask_home(guest, std::move(envelope));
    case pb::Envelope::kArrived:
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
    case pb::Envelope::kPagesIn: break;
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
    departed.mutable_figures()->set_clean_ns(static_cast<uint64_t>(since_frozen.count()));
    departed.mutable_figures()->set_freeze_ns(departed.figures().freeze_ns() +
                                              static_cast<uint64_t>(guest->lead.count()));
    changed_();
    return;
  }
  guest->phase = Phase::running;
  if (departed.obstacles_size() > 0) {
    guest->suspended = departed.obstacles(0);
    guest->evicting.clear();
  }
  if (!(foreign(*guest) && owner_present_)) return thaw(*guest);
  if (!guest->evicting.empty()) ask_again(guest);
}

}  // namespace hob::hostd
