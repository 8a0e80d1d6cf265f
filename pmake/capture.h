#pragma once

#include "base/fd.h"

namespace hob::pmake {

/// Keeps what this process writes to stdout and stderr until it is known what it is worth: the
/// output of a recipe comes in one piece at its end, and what hob has lost is never shown. In the
/// order it came, where both are the same file. In memory: a recipe's output is a screen or two.
class Capture {
 public:
  /// Where that is not possible, output goes its way at once.
  Capture();
  ~Capture() { release(); }
  Capture(const Capture&) = delete;
  Capture& operator=(const Capture&) = delete;

  /// Writes it out, in one piece where nobody else writes; from then on nothing is kept.
  void release() { end(true); }
  void drop() { end(false); }

 private:
  struct Stream {
    Fd original, kept;
  };
  void end(bool show);

  Stream streams_[2];  // stdout, stderr; the second empty where it is the same file
  bool same_ = false;
  bool on_ = false;
};

}  // namespace hob::pmake
