#include "pmake/schedule.h"

#include <algorithm>

#include "wire/message.h"

namespace hob::pmake {
namespace {

/// A build begins by asking for so many slots: few builds are smaller, and fairness takes back what
/// is too many.
constexpr uint32_t kFirstWanted = 4;
/// What comes home is mostly done in a moment; only what takes longer is worth another move. A move
/// of a compiler costs the two hosts an eighth of a second of a processor together, and a second
/// where each has a fifth of one (bench pmake, 22 moves of some 35 MiB). Of the recipes there, Tcl
/// 8.6, seven in ten take less than a second, and those that have taken two take two more on
/// average.
constexpr auto kWorthSending = seconds(2);
constexpr unsigned kMostDoublings = 2;
/// A make that reads its next makefile uses no tokens for a moment, either.
constexpr auto kTail = seconds(3);

}  // namespace

uint32_t Schedule::local_capacity() const {
  // Something must always be able to run.
  const bool none_out =
      std::all_of(slots_.begin(), slots_.end(), [](const Slot& slot) { return slot.leaving; });
  return std::max(limits_.local, none_out ? 1u : 0u);
}

// ---------------------------------------------------------------------------------- facts

void Schedule::hold(std::vector<Slot> slots) {
  slots_ = std::move(slots);
}

void Schedule::ask(uint64_t recipe, bool may_leave) {
  recipes_[recipe].may_leave = may_leave && limits_.export_ok;
  queue_.push_back(recipe);
}

void Schedule::refused(uint64_t recipe) {
  auto it = recipes_.find(recipe);
  if (it == recipes_.end() || it->second.lease == 0) return;
  for (Slot& slot : slots_)
    if (slot.lease == it->second.lease) slot.leaving = true;
  on_.erase(it->second.lease);
  it->second.lease = 0;
  it->second.began.reset();
  if (++it->second.refusals == kMostRefusals) it->second.may_leave = false;
  queue_.push_front(recipe);  // it has waited before
}

void Schedule::lost(uint64_t recipe) {
  auto it = recipes_.find(recipe);
  if (it == recipes_.end()) return;
  end(recipe);
  recipes_[recipe].may_leave = false;
  queue_.push_front(recipe);
}

void Schedule::came_home(uint64_t recipe, Time now) {
  auto it = recipes_.find(recipe);
  if (it == recipes_.end() || it->second.since) return;
  if (it->second.lease == 0) return;  // it is here: news of a run that was lost
  if (!it->second.moving) {
    on_.erase(it->second.lease);
    it->second.lease = 0;
  }
  it->second.since = now;
  it->second.settled = it->second.stuck = false;
  it->second.returns = now < it->second.went + kWorthSending ? it->second.returns + 1 : 1;
  returned_.insert(std::upper_bound(returned_.begin(), returned_.end(), *it->second.began,
                                    [&](Time began, uint64_t other) {
                                      return began < *recipes_.at(other).began;
                                    }),
                   recipe);
}

void Schedule::settled(uint64_t recipe) {
  auto it = recipes_.find(recipe);
  if (it != recipes_.end() && it->second.since) it->second.settled = true;
}

void Schedule::sent_out(uint64_t recipe, bool arrived, Time now) {
  auto it = recipes_.find(recipe);
  if (it == recipes_.end() || !it->second.moving) return;
  it->second.moving = false;
  if (arrived) {
    it->second.went = now;
    it->second.since.reset();
    std::erase(returned_, recipe);
    return;
  }
  on_.erase(it->second.lease);
  it->second.lease = 0;
  it->second.since = now;
  it->second.stuck = true;  // not again at once
}

void Schedule::end(uint64_t recipe) {
  auto it = recipes_.find(recipe);
  if (it == recipes_.end()) return;
  if (it->second.lease != 0) on_.erase(it->second.lease);
  std::erase(home_, recipe);
  std::erase(returned_, recipe);
  std::erase(queue_, recipe);
  recipes_.erase(it);
}

// ---------------------------------------------------------------------------------- decisions

const Schedule::Slot* Schedule::free_slot() const {
  std::map<std::string_view, size_t> ours;
  for (const Slot& slot : slots_)
    if (on_.contains(slot.lease)) ++ours[slot.host];
  const Slot* best = nullptr;
  for (const Slot& slot : slots_) {
    if (slot.leaving || on_.contains(slot.lease)) continue;
    if (best == nullptr || ours[slot.host] < ours[best->host]) best = &slot;
  }
  return best;
}

size_t Schedule::returned_here() const {
  return static_cast<size_t>(std::count_if(returned_.begin(), returned_.end(),
                                           [&](uint64_t n) { return !recipes_.at(n).moving; }));
}

Time Schedule::due(const Recipe& recipe, bool crowded) {
  const unsigned waits = recipe.returns - (crowded && !recipe.stuck ? 1 : 0);
  const Time grown = *recipe.began + kWorthSending;
  if (waits == 0) return std::max(*recipe.since, grown);
  return *recipe.since + kWorthSending * (1 << std::min(waits - 1, kMostDoublings));
}

void Schedule::place(uint64_t number, uint64_t lease, Time now, std::vector<Decision>& decisions) {
  Recipe& recipe = recipes_.at(number);
  if (!recipe.began) recipe.began = now;
  recipe.went = now;
  recipe.lease = lease;
  if (lease == 0)
    home_.push_back(number);
  else
    on_[lease] = number;
  decisions.push_back(Placed{number, lease});
}

bool Schedule::send_out(uint64_t number, std::vector<Decision>& decisions) {
  const Slot* slot = free_slot();
  if (slot == nullptr) return false;
  Recipe& recipe = recipes_.at(number);
  recipe.moving = true;
  recipe.lease = slot->lease;
  on_[slot->lease] = number;
  decisions.push_back(SendOut{number, slot->lease});
  return true;
}

std::vector<Schedule::Decision> Schedule::decide(Time now) {
  std::vector<Decision> decisions;
  for (uint64_t number : returned_) {
    if (home_.size() + returned_here() <= local_capacity()) break;
    const Recipe& recipe = recipes_.at(number);
    if (!movable(recipe) || now < due(recipe, true)) continue;
    if (!send_out(number, decisions)) break;
  }
  std::deque<uint64_t> still;
  for (uint64_t number : queue_) {
    const Recipe& recipe = recipes_.at(number);
    const Slot* slot = recipe.may_leave ? free_slot() : nullptr;
    if (slot != nullptr) {
      place(number, slot->lease, now, decisions);
    } else if (home_.size() + returned_here() < local_capacity() ||
               (!recipe.may_leave && home_.empty())) {
      place(number, 0, now, decisions);
    } else {
      still.push_back(number);
    }
  }
  queue_ = std::move(still);
  for (uint64_t number : returned_) {
    const Recipe& recipe = recipes_.at(number);
    if (!movable(recipe) || now < due(recipe, false)) continue;
    if (!send_out(number, decisions)) break;
  }
  return decisions;
}

std::optional<Time> Schedule::next(Time now) const {
  std::optional<Time> first;
  for (uint64_t number : returned_) {
    const Recipe& recipe = recipes_.at(number);
    if (!movable(recipe)) continue;
    for (const bool crowded : {true, false})
      if (const Time at = due(recipe, crowded); at > now && (!first || at < *first)) first = at;
  }
  return first;
}

uint32_t Schedule::parallelism() const {
  const auto usable_slots = static_cast<uint32_t>(
      std::count_if(slots_.begin(), slots_.end(), [](const Slot& slot) { return !slot.leaving; }));
  const uint32_t here = std::max(local_capacity(), static_cast<uint32_t>(returned_here()));
  const uint32_t all = std::max(1u, usable_slots + here);
  return limits_.most == 0 ? all : std::min(all, limits_.most);
}

uint32_t Schedule::wanted(uint32_t idle_tokens, Time now) {
  if (!limits_.export_ok) return 0;
  const uint32_t most =
      limits_.most == 0
          ? wire::kMostHeld
          : std::min(wire::kMostHeld, limits_.most - std::min(limits_.most, limits_.local));
  if (wanted_ == 0) wanted_ = kFirstWanted;
  const auto busy = static_cast<uint32_t>(on_.size() + returned_.size() + queue_.size());
  if (idle_tokens == 0) {
    idle_since_.reset();
    wanted_ = std::max(wanted_, 2 * busy);
  } else if (!idle_since_) {
    idle_since_ = now;
  } else if (now >= *idle_since_ + kTail) {
    idle_since_ = now;
    wanted_ = std::max(kFirstWanted, std::min(wanted_, busy + busy / 4));
  }
  return std::min(wanted_, most);
}

}  // namespace hob::pmake
