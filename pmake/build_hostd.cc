// pmake/build.h, the part that holds slots at hostd and hears how their jobs stand.
#include <utility>

#include "cli/client.h"
#include "cli/say.h"
#include "pmake/build.h"

namespace hob::pmake {
namespace {

constexpr auto kHostdAgain = milliseconds(500);

}  // namespace

void Build::connect_hostd() {
  auto socket = wire::connect_stream(cli::hostd_socket());
  auto channel = socket.ok() ? wire::StreamChannel::create(
                                   loop_, std::move(socket).value(),
                                   {[this](wire::Message message) { on_hostd_message(message); },
                                    [this](const Error& reason) { on_hostd_gone(reason); }})
                             : Result<std::unique_ptr<wire::StreamChannel>>(socket.error());
  if (!channel.ok()) {
    if (!std::exchange(hostd_said_, true))
      cli::say(cli::unreachable(channel.error()) + " Recipes run at home meanwhile.");
    go_on();
    again_ = loop_.after(kHostdAgain, [this] { connect_hostd(); });
    return;
  }
  hostd_ = std::move(channel).value();
  hostd_->gather();
  wanted_ = 0;
  pb::Envelope who;
  who.set_request(++last_request_);
  who.mutable_host_status();
  answers_[last_request_] = [this](const pb::Envelope& answer) {
    if (answer.has_host_status()) home_ = answer.host_status().name();
  };
  hostd_->send(std::move(who));
  for (const auto& [job, line] : std::map(by_job_)) line->away->hostd_back();
  want();
}

void Build::on_hostd_gone(const Error&) {
  loop_.defer([this] { hostd_.reset(); });
  for (auto& [number, on_answer] : std::exchange(answers_, {}))
    on_answer(wire::failure(pb::Failure::UNREACHABLE, "hostd on this machine has gone"));
  away_answers_.clear();
  for (const auto& [number, line] : std::map(by_number_))
    if (line->away) line->away->hostd_gone();
  on_holding({});
  again_ = loop_.after(kHostdAgain, [this] { connect_hostd(); });
}

void Build::on_hostd_message(const wire::Message& message) {
  if (to_away(message)) return;
  const pb::Envelope& envelope = message.envelope;
  if (auto it = answers_.find(envelope.answers()); it != answers_.end()) {
    const auto on_answer = std::move(it->second);
    answers_.erase(it);
    return on_answer(envelope);
  }
  if (envelope.has_holding()) return on_holding(envelope.holding());
  if (envelope.has_held_job()) return on_held_job(envelope.held_job());
}

void Build::on_holding(const pb::Holding& holding) {
  std::vector<Schedule::Slot> slots;
  for (const pb::Holding::Slot& slot : holding.slots())
    slots.push_back({slot.lease(), slot.host(), slot.leaving()});
  schedule_.hold(std::move(slots));
  if (holding.slots_size() > 0 || !holding.waiting().empty()) go_on();
  settle();
}

void Build::go_on() {
  answered_ = true;
  answer_limit_.reset();
  settle();
}

void Build::on_held_job(const pb::HeldJob& news) {
  LinePtr line = find(news.recipe());
  if (!line) return;
  line->job = news.job();
  if (news.state() == pb::JobReport::MOVING && !news.reason().empty())
    line->why_moving = news.reason();
  if (news.state() != pb::JobReport::RUNNING) return;
  const bool here = news.host() == home_;
  begin(*line, here ? timeline_.home() : news.host(), "");
  timeline_.move(line->number, here ? timeline_.home() : news.host(), line->why_moving, now());
  if (here) schedule_.came_home(line->number, Clock::now());
  if (here && news.settled()) schedule_.settled(line->number);
  settle();
}

void Build::order(const Schedule::SendOut& order) {
  LinePtr line = find(order.recipe);
  if (!line || !hostd_ || line->job.empty())
    return schedule_.sent_out(order.recipe, false, Clock::now());
  pb::Envelope envelope;
  envelope.set_request(++last_request_);
  envelope.mutable_migrate()->set_job(line->job);
  envelope.mutable_migrate()->set_lease(order.lease);
  answers_[last_request_] = [this, number = order.recipe](const pb::Envelope& answer) {
    schedule_.sent_out(number, answer.has_done(), Clock::now());
    settle();
  };
  hostd_->send(std::move(envelope));
}

/// Asks hostd for as many slots as the build can use.
void Build::want() {
  const uint32_t wanted = schedule_.wanted(idle_tokens(), Clock::now());
  if (!hostd_ || wanted == wanted_) return;
  wanted_ = wanted;
  pb::Envelope envelope;
  envelope.set_request(++last_request_);
  envelope.mutable_hold()->set_wanted(wanted);
  answers_[last_request_] = [this](const pb::Envelope& answer) {
    if (!answer.has_failure()) return;
    if (!std::exchange(hostd_said_, true))
      cli::say(answer.failure().text() + "; recipes run at home");
    go_on();
  };
  hostd_->send(std::move(envelope));
}

}  // namespace hob::pmake
