#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/time.h"
#include "config/config.h"
#include "config/hours.h"
#include "hostd/load_average.h"

namespace hob {

/// What a host is to the cell (DESIGN.md section 3; Sprite's six). A host never calls itself down:
/// that is the coordinator's word for one it does not hear of.
enum class HostState { down, active, idle, part_used, full, refuses };

/// "DOWN", "ACTIVE", "IDLE", "PART_USED", "FULL", "REFUSES".
std::string_view to_string(HostState state);

/// What the owner has laid down in the config.
struct OwnerRules {
  Duration idle_after = seconds(30);
  unsigned processors = 1;
  LoadMarks load_open = HostdConfig{}.idle_load_open;
  LoadMarks load_close = HostdConfig{}.idle_load_close;
  Hours hours;
  unsigned max_guests = 1;  // slots; 0: never any
  bool import = true;       // false: from nobody
  bool on_battery = false;  // take guests on battery power?

  /// Of a config, on a machine with so many processors.
  static OwnerRules of(const HostdConfig& config, unsigned processors);
};

/// What follows from the facts at one moment.
struct Verdict {
  HostState state = HostState::active;
  /// May guests be here at all? False means: none may run now, whoever they are. High load alone
  /// does not take this away, it only closes the door (state FULL or ACTIVE).
  bool guests_allowed = false;
  /// How many more may come.
  unsigned free_slots = 0;
  bool operator==(const Verdict&) const = default;
};

/// The owner's state machine. Pure: facts in, with the time at which they hold; verdicts out; no
/// clock, no file, no callback. The state at any moment is a function of the facts alone, but for
/// the load gate's hysteresis, which remembers.
///
/// Time comes in twice: Time decides what is how long ago, WallTime what hour of the day it is and
/// when a pause ends (pauses outlive a reboot, and people say "until 18:00").
class Owner {
 public:
  explicit Owner(OwnerRules rules);

  // ---- Facts.
  using Source = size_t;
  /// A source of input counts as unreadable, hence the owner as present, until it says otherwise.
  Source add_source(std::string name);
  /// The source can be read; the last input it knows of was at `last_input`. A source that cannot
  /// look back says the time at which it began to look: what it did not see may have happened.
  void source_readable(Source source, Time last_input);
  /// Nobody is looking there any more; `why` is an Error's text.
  void source_unreadable(Source source, std::string why);
  /// The owner did something; `what` was used ("keyboard 'AT Translated Set 2 keyboard'"). Older
  /// news than is known is ignored.
  void input(Source source, Time when, std::string_view what);

  /// `runnable` processes of the owner's own.
  void load(unsigned runnable, Time when);
  void load_unreadable(std::string why);

  /// Guests are not wanted until then, or until resume().
  void pause(std::optional<WallTime> until);
  void resume();
  /// Slots taken, by running guests or by starts that have been accepted.
  void slots_used(unsigned slots);
  void on_battery(bool on);
  /// New rules, e.g. after a reload; the facts stay.
  void rules(OwnerRules rules);

  // ---- Decisions.
  Verdict judge(Time now, WallTime wall) const;

  /// judge(), and remembers it: `evict` is true in that decision alone that takes guests_allowed
  /// from true to false. All guests are to go at once; later arrivals are refused while it stays
  /// false.
  struct Decision {
    Verdict verdict;
    bool evict = false;
    bool changed = false;  // the verdict differs from that of the decision before
  };
  Decision decide(Time now, WallTime wall);

  /// When time alone changes the verdict: nothing changes before it while no new fact comes in.
  /// None: only a fact can change it. Sleep until then. If the wall clock is set meanwhile, the
  /// owner's hours are noticed at the next fact, and load samples come every few seconds.
  std::optional<Time> next_deadline(Time now, WallTime wall) const;

  /// One line for people, for `remote hosts --why`:
  /// "keyboard 'AT Translated Set 2 keyboard' used 3 s ago; idle in 27 s".
  std::string why(Time now, WallTime wall) const;

  /// When the owner was last seen, by the source that saw him last; none if no source is readable.
  /// The coordinator picks the host that has been idle longest.
  std::optional<Time> last_input() const;

 private:
  struct SourceFacts {
    std::string name;
    bool readable = false;
    std::string why_unreadable = "has not reported yet";
    Time last{};
    bool seen = false;  // `last` is an input, not the time at which looking began
    std::string what;
  };
  enum class Refusal { none, paused, no_imports, no_slots, hours, battery };
  Refusal refusal(WallTime wall) const;
  const SourceFacts* unreadable() const;
  const SourceFacts* latest() const;
  bool load_is_open() const { return !load_problem_ && gate_.open(); }
  std::string why_refused(Refusal refusal, WallTime wall) const;
  std::string why_load() const;

  OwnerRules rules_;
  std::vector<SourceFacts> sources_;
  LoadAverages averages_;
  LoadGate gate_;
  std::optional<std::string> load_problem_ = "has not been measured yet";
  bool paused_ = false;
  std::optional<WallTime> paused_until_;
  unsigned used_ = 0;
  bool battery_ = false;
  std::optional<Verdict> decided_;
};

}  // namespace hob
