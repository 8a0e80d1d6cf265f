#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <vector>

#include "migrate/types.h"

namespace hob::migrate {

/// Memory that is missing until the page stream brings it, and where it lies there.
struct HeldBack {
  Range target;
  uint64_t source;
  bool wiped_on_fork = false;  ///< MADV_WIPEONFORK: a child finds zeros there
};

/// Which addresses of a moved process still stand for which addresses at the source.
///
/// Starts as the process's memory, each address standing for itself. What the program gives back no
/// longer stands for anything (its pages read as zeros, whatever arrives), and what it moves keeps
/// its source. Pure; not thread-safe.
class Territory {
 public:
  /// [target.start, target.end) stands for [source, ...). Must not overlap what is there.
  void add(Range target, uint64_t source);
  /// MADV_DONTNEED, munmap.
  void remove(Range target);
  /// mremap: `length` bytes from `from` are at `to` now; what was at `to` is gone.
  void move(uint64_t from, uint64_t to, uint64_t length);

  std::optional<uint64_t> source_of(uint64_t target) const;
  /// Calls with every target range that stands for a part of `source`, and that part's start.
  void each_target_of(Range source,
                      const std::function<void(Range target, uint64_t source)>& call) const;
  bool empty() const { return pieces_.empty(); }

 private:
  struct Piece {
    uint64_t end;
    uint64_t source;
  };
  std::map<uint64_t, Piece> pieces_;  // by target start
  size_t moved_ = 0;                  // how many of them do not stand for themselves
};

}  // namespace hob::migrate
