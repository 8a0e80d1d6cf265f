#include "hostd/coordinator_link.h"

#include <fmt/core.h>

#include <utility>

#include "base/log.h"

namespace hob::hostd {
namespace {

constexpr auto kHelloLimit = seconds(3);
constexpr auto kHelloAgain = milliseconds(500);
/// Numbers of Selects: apart from those that wire::Client gives to its requests.
constexpr uint64_t kFirstSelect = 1ull << 62;

/// Of jobs whose end the ledger was not told, for people.
constexpr auto kRestarted = "its home was restarted before it said how it ended";
constexpr auto kDropped = "its home had more to tell than it keeps while the coordinator is away";

bool is_history(const pb::Envelope& envelope) {
  return envelope.has_job_report() || envelope.has_job_reports() || envelope.has_move_report();
}

/// Of silence, also where to look.
std::string reason(const pb::Failure& failure) {
  const bool silent = failure.kind() == pb::Failure::UNREACHABLE;
  return failure.text() + (silent ? " (does hob-coordinator run there?)" : "");
}

}  // namespace

Grant::Grant(Grant&& other) noexcept
    : give_back_(std::exchange(other.give_back_, nullptr)), granted_(std::move(other.granted_)) {}

Grant& Grant::operator=(Grant&& other) noexcept {
  if (this != &other) {
    reset();
    give_back_ = std::exchange(other.give_back_, nullptr);
    granted_ = std::move(other.granted_);
  }
  return *this;
}

void Grant::reset() {
  if (const GiveBack give_back = std::exchange(give_back_, nullptr)) give_back(granted_);
}

CoordinatorLink::CoordinatorLink(EventLoop& loop, std::string endpoint, Events events)
    : loop_(loop),
      endpoint_(std::move(endpoint)),
      events_(std::move(events)),
      next_select_(kFirstSelect) {}
CoordinatorLink::~CoordinatorLink() = default;

Result<std::unique_ptr<CoordinatorLink>> CoordinatorLink::create(
    EventLoop& loop, wire::Context& context, const std::string& endpoint,
    const wire::Key& coordinator_key, const wire::KeyPair& own, Events events) {
  std::unique_ptr<CoordinatorLink> link(new CoordinatorLink(loop, endpoint, std::move(events)));
  link->client_ = TRY(wire::Client::connect(
      context, endpoint, coordinator_key, own,
      [raw = link.get()](wire::Message message) { raw->on_message(std::move(message)); }));
  loop.defer([raw = link.get()] { raw->greet(); });
  return link;
}

std::string CoordinatorLink::trouble() const {
  return unusable(trouble_);
}

std::string CoordinatorLink::unusable(const std::string& why) const {
  return fmt::format("the coordinator at {} cannot be used: {}", endpoint_, why);
}

void CoordinatorLink::greet() {
  pb::Envelope envelope;
  *envelope.mutable_hello() = events_.hello();
  std::vector<uint64_t> leases;
  for (const auto& [lease, held] : held_) {
    leases.push_back(lease);
    envelope.mutable_hello()->add_leases_held(lease);
    *envelope.mutable_hello()->add_held() = held;
  }
  client_->request({std::move(envelope), {}}, kHelloLimit, [this, leases](wire::Message answer) {
    if (answer.envelope.has_welcome()) {
      on_welcome(answer.envelope.welcome());
      // What was given back while the Hello was under way it still called ours.
      for (uint64_t lease : leases)
        if (!held_.contains(lease)) release(lease);
      return;
    }
    lost(answer.envelope.has_failure() ? reason(answer.envelope.failure()) : "a wrong answer");
  });
}

void CoordinatorLink::on_welcome(const pb::Welcome& welcome) {
  if (!connected_) log::info("connected to the coordinator at {}", endpoint_);
  connected_ = true;
  greeting_again_ = false;
  // Before anything else is told: what comes after a report that was not sent would answer for it.
  reports_.send_again();
  live_jobs_due_ = true;
  ++session_;
  if (welcome.heartbeat_ns() >= 100'000'000)
    heartbeat_period_ = nanoseconds(welcome.heartbeat_ns());
  events_.welcome(welcome);
  timer_ = loop_.every(heartbeat_period_, [this] { heartbeat(); });
  for (const auto& [number, pending] : pending_) send_select(number);
  for (const auto& ask_again : std::exchange(unanswered_, {})) ask_again();
  tell_ledger();
}

void CoordinatorLink::lost(const std::string& text) {
  if (connected_ || trouble_ != text) log::warning("coordinator at {}: {}", endpoint_, text);
  const bool was_connected = std::exchange(connected_, false) || greeting_again_;
  greeting_again_ = false;
  trouble_ = text;
  ++session_;
  if (was_connected || !pending_.empty()) {
    // A call-back may withdraw its own or other wishes.
    std::vector<uint64_t> numbers;
    for (const auto& [number, pending] : pending_) numbers.push_back(number);
    for (uint64_t number : numbers) tell_trouble(number);
  }
  for (const auto& ask_again : std::exchange(unanswered_, {}))
    ask_again();  // which tells the trouble
  timer_ = loop_.after(kHelloAgain, [this] { greet(); });
}

/// It has been restarted and does not know us yet.
void CoordinatorLink::greet_again() {
  if (!std::exchange(connected_, false)) return;  // on its way
  greeting_again_ = true;
  ++session_;
  timer_.reset();
  greet();
}

void CoordinatorLink::tell_trouble(uint64_t number) {
  auto it = pending_.find(number);
  if (it == pending_.end()) return;
  if (!it->second.select.no_wait()) {
    const auto waiting = it->second.wish.waiting;
    return waiting(trouble());
  }
  Wish wish = std::move(it->second.wish);
  pending_.erase(it);
  pb::Failure failure;
  failure.set_kind(pb::Failure::UNREACHABLE);
  failure.set_text(trouble());
  wish.failed(failure);
}

void CoordinatorLink::heartbeat() {
  pb::Envelope envelope;
  auto* heartbeat = envelope.mutable_heartbeat();
  for (const auto& [lease, held] : held_) heartbeat->add_leases(lease);
  const uint64_t session = session_;
  client_->request({std::move(envelope), {}}, heartbeat_period_, [=, this](wire::Message answer) {
    if (session != session_) return;
    if (!answer.envelope.has_failure()) return tell_ledger();
    if (answer.envelope.failure().kind() == pb::Failure::STALE) return greet_again();
    lost(reason(answer.envelope.failure()));
  });
}

void CoordinatorLink::tell(pb::Envelope envelope) {
  if (is_history(envelope)) {
    reports_.add(std::move(envelope));
    return tell_ledger();
  }
  if (!connected_) return;
  if (auto sent = client_->send({std::move(envelope), {}}); !sent.ok())
    log::warning("coordinator: {}", sent.error().text);
}

/// What does not leave now leaves after the next Written or heartbeat.
void CoordinatorLink::send_reports() {
  while (const pb::Envelope* report = reports_.next()) {
    if (auto sent = client_->send({*report, {}}); !sent.ok())
      return log::warning("coordinator: {}", sent.error().text);
    reports_.sent();
  }
}

void CoordinatorLink::tell_ledger() {
  if (!connected_) return;
  send_reports();
  if (reports_.dropped()) live_jobs_due_ = true;
  if (!reports_.all_sent() || !std::exchange(live_jobs_due_, false)) return;
  const std::vector<std::string> jobs = events_.live_jobs();  // may have told of others' ends
  // The end of a job must be there before the list without it, or it would count as not known.
  if (reports_.all_sent()) return send_live_jobs(jobs);
  live_jobs_due_ = true;
}

void CoordinatorLink::send_live_jobs(const std::vector<std::string>& jobs) {
  for (pb::LiveJobs& message :
       live_jobs_messages(jobs, reports_.dropped() ? kDropped : kRestarted)) {
    pb::Envelope envelope;
    *envelope.mutable_live_jobs() = std::move(message);
    if (auto sent = client_->send({std::move(envelope), {}}); !sent.ok()) {
      live_jobs_due_ = true;
      return log::warning("coordinator: {}", sent.error().text);
    }
  }
  reports_.tell_dropped();
}

void CoordinatorLink::ask(pb::Envelope envelope, Duration limit, wire::Client::OnAnswer on_answer) {
  ask(std::move(envelope), limit, std::move(on_answer), true);
}

void CoordinatorLink::ask(pb::Envelope envelope, Duration limit, wire::Client::OnAnswer on_answer,
                          bool again) {
  if (greeting_again_)
    return unanswered_.push_back(
        [this, envelope = std::move(envelope), limit, on_answer = std::move(on_answer)] {
          ask(envelope, limit, on_answer, false);
        });
  if (connected_)
    return (void)client_->request(
        {envelope, {}}, limit, [this, envelope, limit, on_answer, again](wire::Message answer) {
          pb::Envelope& e = answer.envelope;
          if (e.has_failure() && e.failure().kind() == pb::Failure::UNREACHABLE)
            e.mutable_failure()->set_text(unusable(reason(e.failure())));
          if (!again || !e.has_failure() || e.failure().kind() != pb::Failure::STALE)
            return on_answer(std::move(answer));
          unanswered_.push_back(
              [this, envelope, limit, on_answer] { ask(envelope, limit, on_answer, false); });
          greet_again();
        });
  loop_.defer([on_answer = std::move(on_answer), text = trouble()] {
    on_answer({wire::failure(pb::Failure::UNREACHABLE, text), {}});
  });
}

uint64_t CoordinatorLink::select(pb::Select select, Wish wish) {
  const uint64_t number = next_select_++;
  pending_.emplace(number, Pending{std::move(select), std::move(wish)});
  if (connected_) {
    send_select(number);
  } else {
    loop_.defer([this, number] {
      if (!connected_ && !greeting_again_) tell_trouble(number);
    });
  }
  return number;
}

void CoordinatorLink::send_select(uint64_t number) {
  pb::Envelope envelope;
  envelope.set_request(number);
  *envelope.mutable_select() = pending_.at(number).select;
  if (auto sent = client_->send({std::move(envelope), {}}); !sent.ok())
    log::warning("coordinator: {}", sent.error().text);
}

void CoordinatorLink::withdraw(uint64_t number) {
  if (pending_.erase(number) == 0) return;
  pb::Envelope envelope;
  envelope.mutable_withdraw()->set_select(number);
  tell(std::move(envelope));
}

std::vector<pb::HeldLease> CoordinatorLink::held() const {
  std::vector<pb::HeldLease> leases;
  for (const auto& [lease, held] : held_) leases.push_back(held);
  return leases;
}

Grant CoordinatorLink::adopt(uint64_t lease, const std::string& host, const std::string& user) {
  if (lease == 0) return {};
  pb::HeldLease& held = held_[lease];
  held.set_lease(lease);
  held.set_host(host);
  held.set_user(user);
  pb::Granted granted;
  granted.set_lease(lease);
  granted.mutable_host()->set_name(host);
  return own(std::move(granted));
}

Grant CoordinatorLink::own(pb::Granted granted) {
  return {std::move(granted), [this](const pb::Granted& g) { release(g.lease()); }};
}

void CoordinatorLink::release(uint64_t lease) {
  held_.erase(lease);
  pb::Envelope envelope;
  envelope.mutable_release()->set_lease(lease);
  tell(std::move(envelope));
}

void CoordinatorLink::on_message(wire::Message message) {
  const pb::Envelope& envelope = message.envelope;
  switch (envelope.body_case()) {
    case pb::Envelope::kDirectory:
      return events_.directory(envelope.directory());
    case pb::Envelope::kRevoked:
      return events_.revoked(envelope.revoked());
    case pb::Envelope::kHostStatus:
      return events_.report_again();
    case pb::Envelope::kWritten:
      reports_.written(envelope.answers());
      return tell_ledger();
    case pb::Envelope::kGranted:
    case pb::Envelope::kQueued:
    case pb::Envelope::kFailure:
      return on_answer(envelope);
    case pb::Envelope::kWelcome:
    case pb::Envelope::kDone:
      return;  // to a greeting or heartbeat that was given up
    default:
      log::warning("coordinator: unexpected message of kind {}",
                   static_cast<int>(envelope.body_case()));
      return;
  }
}

/// To a Select, or a Failure to whatever was sent.
void CoordinatorLink::on_answer(const pb::Envelope& envelope) {
  // Whatever it was, it stays (ReportQueue, pending_) and is sent again after the Welcome.
  if (envelope.has_failure() && envelope.failure().kind() == pb::Failure::STALE)
    return greet_again();
  auto it = pending_.find(envelope.answers());
  if (envelope.has_queued()) {
    if (it != pending_.end()) {
      const auto waiting = it->second.wish.waiting;
      waiting(envelope.queued().reason());
    }
    return;
  }
  if (envelope.has_granted()) return on_granted(envelope);
  if (it == pending_.end()) return;  // an answer that came too late
  Wish wish = std::move(it->second.wish);
  pending_.erase(it);
  wish.failed(envelope.failure());
}

void CoordinatorLink::on_granted(const pb::Envelope& envelope) {
  auto it = pending_.find(envelope.answers());
  pb::HeldLease held;
  held.set_lease(envelope.granted().lease());
  held.set_host(envelope.granted().host().name());
  if (it != pending_.end()) {
    held.set_user(it->second.select.user());
    held.set_client(it->second.select.client());
  }
  held_[held.lease()] = held;
  Grant grant = own(envelope.granted());
  if (it == pending_.end()) return;  // withdrawn meanwhile: goes back by itself
  Wish wish = std::move(it->second.wish);
  pending_.erase(it);
  wish.granted(std::move(grant));
}

}  // namespace hob::hostd
