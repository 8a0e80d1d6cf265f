#include "hostd/guests.h"

#include <fmt/core.h>

#include <csignal>

#include "base/log.h"
#include "hostd/convert.h"
#include "wire/job_name.h"

namespace hob::hostd {
namespace {

/// How often homes are asked whether they still know their guests here.
constexpr auto kLookForHomes = seconds(10);
/// A user who sends guests home waits so long for word of them; a move is mostly done in one
/// second.
constexpr auto kEvictLimit = seconds(30);

/// The job that a message is about, or nothing for messages that are not about one.
const std::string* job_of(const pb::Envelope& envelope) {
  switch (envelope.body_case()) {
    case pb::Envelope::kStart:
      return &envelope.start().job();
    case pb::Envelope::kReceive:
      return &envelope.receive().job();
    case pb::Envelope::kDepart:
      return &envelope.depart().job();
    case pb::Envelope::kKill:
      return &envelope.kill().job();
    case pb::Envelope::kData:
      return &envelope.data().job();
    case pb::Envelope::kAck:
      return &envelope.ack().job();
    case pb::Envelope::kSignal:
      return &envelope.signal().job();
    case pb::Envelope::kWindowSize:
      return &envelope.window_size().job();
    case pb::Envelope::kAttach:
      return &envelope.attach().job();
    case pb::Envelope::kAbandon:
      return &envelope.abandon().job();
    case pb::Envelope::kWhereIs:
      return &envelope.where_is().job();
    case pb::Envelope::kCheck:
      return &envelope.check().job();
    case pb::Envelope::kHurry:
      return &envelope.hurry().job();
    default:
      return nullptr;
  }
}

}  // namespace

Guests::Guests(EventLoop& loop, Post& post, Options options, std::function<void()> changed)
    : loop_(loop),
      post_(post),
      options_(std::move(options)),
      changed_(std::move(changed)),
      evictions_(loop, kEvictLimit) {}

Guests::~Guests() = default;

Result<void> Guests::start() {
  // Beside the guests' groups, not in hostd's own: a service manager that stops or restarts hostd
  // with all of its group must not take starters along, and their work is not the owner's load.
  const std::string parent = options_.cgroup.substr(0, options_.cgroup.rfind('/'));
  starters_.emplace(TRY(migrate::Cgroup::open(parent + "/starters")));
  listener_ =
      TRY(wire::StreamListener::create(loop_, options_.starter_socket, 0600, [this](Fd socket) {
        auto guest = std::make_shared<Guest>();
        guests_.push_back(guest);
        if (auto attached = attach(guest, std::move(socket)); !attached.ok())
          log::error("{}", attached.error().text);
      }));
  home_timer_ = loop_.every(kLookForHomes, [this] { look_for_homes(); });
  return {};
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
    case pb::Envelope::kWhereIs:
      reply(wire::done());
      break;
    case pb::Envelope::kKill:
      kill(guest);
      break;
    case pb::Envelope::kAbandon:
      if (guest->phase == Phase::arriving && guest->attempt == envelope.abandon().attempt()) {
        guest->phase = Phase::done;
        kill(guest);
      }
      break;
    case pb::Envelope::kDepart:
      depart(guest, std::move(message));
      break;
    case pb::Envelope::kCheck:
      if (guest->phase == Phase::running)
        pass_to_starter(guest, std::move(message), reply);
      else
        reply(wire::failure(pb::Failure::INTERNAL,
                            fmt::format("check {}: it is on the move; try again", *job)));
      break;
    default:
      guest->channel->send(std::move(message));
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
  if (!wire::is_job_of(home, job))
    return reply(wire::failure(pb::Failure::USAGE, "the job's number is not one of its home"));
  if (home != from)
    return reply(wire::failure(pb::Failure::NOT_PERMITTED, "only its home may start a job"));
  if (find(job)) return reply(wire::failure(pb::Failure::STALE, "the job is here already"));
  if (home != post_.own_name()) {
    Admission admission = admission_;
    admission.guests = foreign_count();
    const auto refusal =
        starts
            ? admission.refuse(home, identity, envelope.start().lease(), envelope.start().token(),
                               envelope.start().expires_wall_ns(), WallClock::now())
            : admission.refuse(home, identity, envelope.receive().lease(),
                               envelope.receive().token(), envelope.receive().expires_wall_ns(),
                               WallClock::now());
    if (refusal)
      return reply(
          wire::failure(refusal->kind, fmt::format("{}: {}", post_.own_name(), refusal->text)));
  }
  if (home != post_.own_name())
    admission_.confine_groups(starts ? *envelope.mutable_start()->mutable_identity()
                                     : *envelope.mutable_receive()->mutable_identity());
  heard_now(starts ? *envelope.mutable_start()->mutable_clocks()
                   : *envelope.mutable_receive()->mutable_clocks());
  Result<GuestPtr> taken =
      take_spare(home, identity, !starts || !envelope.start().checkpoint().empty());
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
  guest->patience = nanoseconds(std::min<uint64_t>(
      starts ? envelope.start().patience_ns() : envelope.receive().patience_ns(), 1ull << 60));
  if (starts) {
    guest->lease = envelope.start().lease();
    guest->keep = envelope.start().keep();
    guest->brief = envelope.start().program().no_input();
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
  // The starter first: it must not see its guest die and report an exit nobody wants. The cgroup
  // goes with it (on_starter_gone).
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
  guest->leads_home = message.envelope.depart().home();
  // Before an owner no guest runs. All others do until the engine stops them: they stand still for
  // a millisecond that way, and else for as long as the target needs to prepare.
  if (foreign(*guest) && owner_present_) {
    freeze(*guest);
    hasten(*guest);
    guest->lead = Clock::now() - guest->frozen_at;
  } else {
    guest->frozen_at = Clock::now();
    guest->lead = Duration{0};
  }
  guest->channel->send(std::move(message));
}

}  // namespace hob::hostd
