#include "hostd/holdings.h"

#include <fmt/core.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "base/log.h"
#include "hostd/users.h"

namespace hob::hostd {

Holdings::Holdings(EventLoop& loop, CoordinatorLink& coordinator, std::string own_name)
    : loop_(loop), coordinator_(coordinator), own_name_(std::move(own_name)) {}
Holdings::~Holdings() = default;

Holdings::HolderPtr Holdings::find(uint64_t number) const {
  for (const auto& [channel, holder] : holders_)
    if (holder->number == number) return holder;
  return nullptr;
}

uint64_t Holdings::holder(uint64_t lease) const {
  auto it = holder_of_.find(lease);
  return it == holder_of_.end() ? 0 : it->second->number;
}

// ---------------------------------------------------------------------------------- the holder

void Holdings::on_hold(const Channel& channel, const wire::PeerIdentity& who,
                       const pb::Envelope& request) {
  if (request.hold().wanted() > wire::kMostHeld)
    return channel->answer(
        request, wire::failure(pb::Failure::USAGE,
                               fmt::format("hold slots: at most {} at once", wire::kMostHeld)));
  HolderPtr& holder = holders_[channel.get()];
  if (!holder) {
    holder = std::make_shared<Holder>();
    holder->number = ++last_;
    holder->channel = channel;
    holder->uid = who.uid;
    holder->user = user_name(who.uid);
  }
  holder->wanted = request.hold().wanted();
  channel->answer(request, wire::done());
  adjust(holder);
}

void Holdings::on_gone(const wire::StreamChannel* channel) {
  auto it = holders_.find(channel);
  if (it == holders_.end()) return;
  const HolderPtr holder = it->second;
  holders_.erase(it);
  holder->wanted = 0;
  for (uint64_t number : std::exchange(holder->wishes, {})) coordinator_.withdraw(number);
  for (const auto& [lease, slot] : holder->slots) holder_of_.erase(lease);
  holder->slots.clear();  // what jobs have goes when they end
}

/// As many slots and requests as are wanted. Those held shortest go first: hosts that were idle
/// longest were granted before them, and are safer to stay on.
void Holdings::adjust(const HolderPtr& holder) {
  const auto staying = [&] {
    return static_cast<size_t>(std::count_if(holder->slots.begin(), holder->slots.end(),
                                             [](const auto& s) { return !s.second.leaving; }));
  };
  while (!holder->wishes.empty() && staying() + holder->wishes.size() > holder->wanted) {
    const uint64_t number = *holder->wishes.rbegin();
    holder->wishes.erase(number);
    coordinator_.withdraw(number);
  }
  std::vector<uint64_t> idle;
  for (const auto& [lease, slot] : holder->slots)
    if (slot.grant) idle.push_back(lease);
  for (size_t have = staying(); have > holder->wanted && !idle.empty(); --have, idle.pop_back())
    remove(holder, idle.back());
  while (staying() + holder->wishes.size() < holder->wanted) wish(holder);
  if (holder->wishes.empty()) holder->waiting.clear();
  tell_soon(holder);
}

void Holdings::wish(const HolderPtr& holder) {
  pb::Select select;
  select.set_user(holder->user);
  select.set_client(static_cast<uint32_t>(holder->number));
  select.add_exclude(own_name_);
  auto number = std::make_shared<uint64_t>(0);
  std::weak_ptr<Holder> weak = holder;
  *number =
      coordinator_.select(std::move(select), {[this, weak, number](Grant grant) {
                                                HolderPtr h = weak.lock();
                                                if (!h || h->wishes.erase(*number) == 0) return;
                                                enter(h, std::move(grant));
                                              },
                                              [this, weak](const std::string& reason) {
                                                HolderPtr h = weak.lock();
                                                if (!h || h->waiting == reason) return;
                                                h->waiting = reason;
                                                tell_soon(h);
                                              },
                                              [this, weak, number](const pb::Failure& failure) {
                                                HolderPtr h = weak.lock();
                                                if (!h || h->wishes.erase(*number) == 0) return;
                                                // Nothing that time mends; the holder goes on with
                                                // what it has.
                                                h->waiting = failure.text();
                                                tell_soon(h);
                                              }});
  holder->wishes.insert(*number);
}

void Holdings::enter(const HolderPtr& holder, Grant grant) {
  const uint64_t lease = grant->lease();
  Slot slot;
  slot.host = grant->host().name();
  slot.grant = std::move(grant);
  holder->slots[lease] = std::move(slot);
  holder_of_[lease] = holder;
  if (holder->wishes.empty()) holder->waiting.clear();
  tell_soon(holder);
}

void Holdings::remove(const HolderPtr& holder, uint64_t lease) {
  holder_of_.erase(lease);
  holder->slots.erase(lease);
  tell_soon(holder);
}

/// Together with what else changes in this round.
void Holdings::tell_soon(const HolderPtr& holder) {
  if (std::exchange(holder->telling, true)) return;
  loop_.defer([weak = std::weak_ptr<Holder>(holder)] {
    HolderPtr h = weak.lock();
    if (!h) return;
    h->telling = false;
    pb::Envelope envelope;
    pb::Holding* holding = envelope.mutable_holding();
    for (const auto& [lease, slot] : h->slots) {
      pb::Holding::Slot* told = holding->add_slots();
      told->set_lease(lease);
      told->set_host(slot.host);
      told->set_leaving(slot.leaving);
    }
    holding->set_waiting(h->waiting);
    std::string text = holding->SerializeAsString();
    if (text == h->told) return;
    h->told = std::move(text);
    h->channel->send(std::move(envelope));
  });
}

void Holdings::tell(uint64_t number, pb::HeldJob news) {
  HolderPtr holder = find(number);
  if (!holder) return;
  pb::Envelope envelope;
  *envelope.mutable_held_job() = std::move(news);
  holder->channel->send(std::move(envelope));
}

// ---------------------------------------------------------------------------------- its slots

std::optional<Grant> Holdings::lend(uint64_t lease, uint32_t uid) {
  auto it = holder_of_.find(lease);
  if (it == holder_of_.end() || it->second->uid != uid) return {};
  Slot& slot = it->second->slots.at(lease);
  if (!slot.grant || slot.leaving) return {};
  auto own = std::make_shared<Grant>(std::move(slot.grant));
  pb::Granted granted = **own;
  return Grant(std::move(granted), [this, alive = std::weak_ptr<bool>(alive_), own,
                                    number = it->second->number](const pb::Granted&) {
    if (alive.lock()) take_back(number, std::move(*own));
  });
}

void Holdings::take_back(uint64_t number, Grant grant) {
  HolderPtr holder = find(number);
  auto it = holder ? holder->slots.find(grant->lease()) : decltype(holder->slots.end()){};
  if (!holder || it == holder->slots.end()) return;  // `grant` goes, and with it the slot
  if (it->second.leaving) return remove(holder, grant->lease());
  it->second.grant = std::move(grant);
  adjust(holder);
}

void Holdings::refused(uint64_t lease) {
  auto it = holder_of_.find(lease);
  if (it == holder_of_.end()) return;
  const HolderPtr holder = it->second;
  Slot& slot = holder->slots.at(lease);
  slot.leaving = true;
  if (slot.grant) remove(holder, lease);
  adjust(holder);
}

void Holdings::on_revoked(const pb::Revoked& revoked) {
  refused(revoked.lease());
}

}  // namespace hob::hostd
