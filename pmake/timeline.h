#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/time.h"

namespace hob::pmake {

/// What happened in a build: which recipe ran where and when. Kept by Build while it runs; read by
/// the summary, the trace and the report. Times count from the build's beginning.
struct Stay {
  std::string host;
  uint32_t slot = 0;        ///< of that host: recipes that run there together have different ones
  Duration from{0}, to{0};  ///< `to` is 0 while it lasts
};
struct RecipeRun {
  uint64_t number = 0;
  std::string target, command;     ///< the command shortened, for people
  std::string why_home;            ///< empty: it was sent out
  std::vector<Stay> stays;         ///< in order; a move begins a new one
  std::vector<std::string> moves;  ///< why: one for each stay but the first
  bool lost = false;               ///< hob lost it and ran it again at home
};

class Timeline {
 public:
  explicit Timeline(std::string home) : home_(std::move(home)) {}
  const std::string& home() const { return home_; }

  /// A recipe begins on `host`, with the first slot of it that is free.
  void begin(uint64_t number, const std::string& target, const std::string& command,
             const std::string& host, const std::string& why_home, Duration now);
  /// It goes on on another host. Unknown or ended numbers: nothing happens; so do the others below.
  void move(uint64_t number, const std::string& host, const std::string& reason, Duration now);
  void lose(uint64_t number, Duration now);
  void end(uint64_t number, Duration now);
  /// Recipes that are not worth a line each (Place::cheap): only counted.
  void count_cheap() { ++cheap_; }

  const std::vector<RecipeRun>& recipes() const { return recipes_; }
  uint64_t cheap() const { return cheap_; }
  /// Recipes that run now, by host.
  const std::map<std::string, std::vector<uint64_t>>& running() const { return running_; }

 private:
  RecipeRun* open(uint64_t number);
  uint32_t free_slot(const std::string& host) const;
  void leave(RecipeRun& recipe, Duration now);

  std::string home_;
  std::vector<RecipeRun> recipes_;
  std::map<uint64_t, size_t> open_;  // index in recipes_, of those that have not ended
  std::map<std::string, std::vector<uint64_t>> running_;
  uint64_t cheap_ = 0;
};

/// What the last line of a build tells.
struct Summary {
  Duration wall{0};
  Duration work{0};  ///< sum of the recipes' own times
  uint64_t out = 0, home = 0, cheap = 0, moves = 0, lost = 0;
  uint64_t hosts = 0;  ///< others than home that had a recipe
};
Summary summarise(const Timeline& timeline, Duration wall);
/// "pmake: 12.3 s, 7.4 times faster than one after another; 160 recipes on 7 hosts, 12 at home; 3
/// moved"
std::string to_string(const Summary& summary);

/// One line for people who watch (`--watch`), at most `width` columns: each host with what it runs.
std::string watch_line(const Timeline& timeline, size_t width);

/// Chrome's trace event format (chrome://tracing, ui.perfetto.dev): a process for each host, a
/// thread for each slot, an arrow for each move.
std::string chrome_trace(const Timeline& timeline);
/// The same timeline as one HTML page that needs nothing else.
std::string html_report(const Timeline& timeline, Duration wall, const std::string& title);

}  // namespace hob::pmake
