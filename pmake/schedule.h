#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/time.h"

namespace hob::pmake {

/// Which recipe of a build gets which slot, and how many slots the build should hold. Pure: facts
/// and a time go in, decisions come out.
///
/// A recipe that may leave goes to the host that has fewest of ours, among equals to the one held
/// longest (it was idle longest); if no slot is free, to a local one; else it waits. One that stays
/// waits for a local slot. What an owner's return has sent home goes on there and takes a local
/// slot, if one is left. Of what is more than home has slots for, one goes out again as soon as
/// there is a slot, before anything new; of the others when a slot is free that nobody waits for
/// and they have been home for a while. A move costs as much as a short recipe, and how long one
/// will still take is best guessed by how long it has taken: so the oldest leaves first, and what
/// is young stays in any case. Each time that one has been away for a moment only it stays for
/// twice as long, up to eight seconds: where owners come and go all the time, it would spend more
/// on the way than it gets done.
class Schedule {
 public:
  struct Limits {
    uint32_t local = 1;     ///< recipes at home at once, but for the cheap ones (`-L`)
    uint32_t most = 0;      ///< recipes at once in all (`-j`); 0: as many as the cell gives
    bool export_ok = true;  ///< false: everything stays (`-X`)
  };
  explicit Schedule(Limits limits) : limits_(limits) {}

  struct Slot {
    uint64_t lease = 0;
    std::string host;
    bool leaving = false;  ///< takes no recipe any more
  };
  /// The recipe runs on the slot of that lease; 0: at home.
  struct Placed {
    uint64_t recipe;
    uint64_t lease;
  };
  /// The recipe, which runs at home, is to be moved to that slot.
  struct SendOut {
    uint64_t recipe;
    uint64_t lease;
  };
  using Decision = std::variant<Placed, SendOut>;

  // Facts. Numbers of recipes are the caller's, each used once.
  void hold(std::vector<Slot> slots);
  void ask(uint64_t recipe, bool may_leave);
  /// Its slot did not take it; the slot takes nothing any more, and the recipe waits again. One
  /// that was refused kMostRefusals times stays at home: what is in its way is its own.
  static constexpr unsigned kMostRefusals = 3;
  void refused(uint64_t recipe);
  /// Hob lost it: it waits for a place at home.
  void lost(uint64_t recipe);
  /// It came home.
  void came_home(uint64_t recipe, Time now);
  /// All of it is here: it can be sent out again. Until then its pages are on the way.
  void settled(uint64_t recipe);
  /// It has arrived on a slot (SendOut), or could not be sent.
  void sent_out(uint64_t recipe, bool arrived, Time now);
  void end(uint64_t recipe);

  /// What follows from the facts.
  std::vector<Decision> decide(Time now);
  /// When, later than `now`, decide() may have something to say without a new fact.
  std::optional<Time> next(Time now) const;

  /// So many recipes may run at once: what make's jobserver gives out, its own free one included.
  /// At least 1. What came home counts until it has ended, or a slot would stay empty for it.
  uint32_t parallelism() const;
  /// So many slots the build should ask for, when `idle_tokens` of the jobserver's are unused. It
  /// doubles while make uses all it gets, so that a short build does not take what it cannot use,
  /// and falls some seconds after make has stopped to (the end of a build).
  uint32_t wanted(uint32_t idle_tokens, Time now);

  size_t waiting() const { return queue_.size(); }

 private:
  struct Recipe {
    bool may_leave = true;
    unsigned refusals = 0;
    uint64_t lease = 0;         // slot it is on, or is moving to
    bool moving = false;        // SendOut is under way
    std::optional<Time> began;  // its first place
    Time went{};                // to the place where it is, or was before it came home
    std::optional<Time> since;  // came home, or could not be sent out
    bool settled = false;       // since it came home
    bool stuck = false;         // could not
    unsigned returns = 0;       // how often it came home in a row without having been away for long
  };
  static bool movable(const Recipe& recipe) { return recipe.settled && !recipe.moving; }
  /// When a recipe that came home may go out; `crowded`: home has no slot for it.
  static Time due(const Recipe& recipe, bool crowded);
  void place(uint64_t recipe, uint64_t lease, Time now, std::vector<Decision>& decisions);
  size_t returned_here() const;
  bool send_out(uint64_t recipe, std::vector<Decision>& decisions);
  uint32_t local_capacity() const;
  const Slot* free_slot() const;

  Limits limits_;
  std::vector<Slot> slots_;
  std::map<uint64_t, Recipe> recipes_;  // that run or wait
  std::deque<uint64_t> queue_;          // that wait
  std::map<uint64_t, uint64_t> on_;     // lease -> recipe
  std::vector<uint64_t> home_;          // with a local slot
  std::vector<uint64_t> returned_;      // came home, without a slot; the oldest first
  uint32_t wanted_ = 0;
  std::optional<Time> idle_since_;
};

}  // namespace hob::pmake
