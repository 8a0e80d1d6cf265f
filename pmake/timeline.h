#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/time.h"

namespace hob::pmake {

/// What happened in a build: which recipe ran where and when. Kept by Build while it runs; read by
/// the summary, the watch line, the trace and the report. Pure. Times count from the build's
/// beginning; one that lies before what is known already counts as the latest known.
///
/// Names are the bytes that make gave: who prints them replaces what is no UTF-8.
struct Stay {
  std::string host;
  uint32_t slot = 0;  ///< of that host: recipes that run there together have different ones
  Duration from{0};
  std::optional<Duration> to;  ///< none while it lasts
  std::string why;             ///< why it came here; empty for a recipe's first
  bool lost = false;           ///< hob lost it here: what it did is gone, the next stay begins anew

  /// How long, in a build that has taken `wall`.
  Duration length(Duration wall) const { return std::max(Duration{0}, to.value_or(wall) - from); }
};
struct RecipeRun {
  uint64_t number = 0;
  std::string target, command;  ///< the command shortened, for people
  std::string why_home;         ///< why it stayed at home; empty: it was to go out
  std::vector<Stay> stays;      ///< in order, never empty; each begins when the one before it ends

  bool lost() const;       ///< hob lost it and ran it again at home
  uint64_t moves() const;  ///< changes of host, but for the one after a loss
  bool ended() const { return stays.back().to.has_value(); }
};

class Timeline {
 public:
  explicit Timeline(std::string home) : home_(std::move(home)) {}
  const std::string& home() const { return home_; }

  /// A recipe begins on `host`, with the first slot of it that is free. One of the same number that
  /// still runs ends.
  void begin(uint64_t number, const std::string& target, const std::string& command,
             const std::string& host, const std::string& why_home, Duration now);
  /// It goes on on another host. Unknown and ended numbers, or the host where it is: nothing
  /// happens; so do the others below.
  void move(uint64_t number, const std::string& host, const std::string& reason, Duration now);
  /// It is gone from where it ran, and runs again at home from its beginning.
  void lose(uint64_t number, const std::string& reason, Duration now);
  void end(uint64_t number, Duration now);
  /// Recipes that are not worth a line each (Place::cheap): only counted.
  void count_cheap() { ++cheap_; }

  const std::vector<RecipeRun>& recipes() const { return recipes_; }
  uint64_t cheap() const { return cheap_; }
  /// Recipes that run now, by host; hosts with none are not in it. Numbers in order of arrival.
  const std::map<std::string, std::vector<uint64_t>>& running() const { return running_; }
  /// The recipe of a number in running().
  const RecipeRun& recipe(uint64_t number) const { return recipes_.at(open_.at(number)); }

 private:
  RecipeRun* open(uint64_t number);
  uint32_t free_slot(const std::string& host) const;
  void arrive(RecipeRun& recipe, const std::string& host, const std::string& why, Duration now);
  /// Ends its stay; the instant at which it ended.
  Duration leave(RecipeRun& recipe, Duration now);

  std::string home_;
  std::vector<RecipeRun> recipes_;
  std::map<uint64_t, size_t> open_;  // index in recipes_, of those that have not ended
  std::map<std::string, std::vector<uint64_t>> running_;
  uint64_t cheap_ = 0;
};

/// Home first, also where it is not in `names`; then the others as people sort names that hold
/// numbers (ws2 before ws10).
std::vector<std::string> home_first(const std::string& home, std::set<std::string> names);
/// The hosts that had a recipe, and home, in that order.
std::vector<std::string> hosts_of(const Timeline& timeline);

/// How a stay is shown.
enum class StayKind : uint8_t {
  out,    ///< it ran there, from beginning to end
  moved,  ///< part of a recipe that changed hosts
  home,   ///< at home, from beginning to end
  lost,   ///< its work is gone
  rerun,  ///< after a loss
};
/// `stay` is one of `recipe`.
StayKind kind_of(const Timeline& timeline, const RecipeRun& recipe, const Stay& stay);
const char* to_string(StayKind kind);

/// What the last line of a build tells.
struct Summary {
  Duration wall{0};
  /// Sum of the recipes' own times, as far as they count: without what was lost.
  Duration work{0};
  uint64_t out = 0;   ///< recipes that were on another host, if only for a while
  uint64_t home = 0;  ///< the others
  uint64_t cheap = 0, moves = 0, lost = 0;
  uint64_t hosts = 0;  ///< others than home that had a recipe
  bool operator==(const Summary&) const = default;
};
Summary summarise(const Timeline& timeline, Duration wall);
/// "12.3 s, 7.4 times less than its recipes took together; 160 recipes on 7 hosts, 12 at home; 3
/// moved". What is nought is left out.
std::string to_string(const Summary& summary);

/// One line for people who watch (`--watch`), at most `width` columns: how many have run, and each
/// host with what it runs, shortened evenly until it fits. Without control characters.
std::string watch_line(const Timeline& timeline, size_t width);

/// Chrome's trace event format (chrome://tracing, ui.perfetto.dev): a process for each host, a
/// thread for each slot, an arrow for each move. What still runs ends at `wall`.
std::string chrome_trace(const Timeline& timeline, Duration wall);
/// The same timeline as one HTML page that needs nothing else (report.html is its template).
std::string html_report(const Timeline& timeline, Duration wall, const std::string& title);

}  // namespace hob::pmake
