#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/time.h"

/// Something that moves a running program from one place on this machine to another.
namespace hob::bench {

class Mover {
 public:
  virtual ~Mover() = default;  ///< ends the program
  /// Starts a program; one per Mover.
  virtual Result<void> start(const std::vector<std::string>& arguments) = 0;
  /// Moves it to another place: there, or back. Returns when nothing of it is where it was; the
  /// result is when the last page was in, nanoseconds of CLOCK_REALTIME.
  virtual Result<uint64_t> move() = 0;
  /// From the resume until the last page was in, of the last move; zero where all are in before.
  virtual Duration push() const { return Duration(0); }
  /// Moves it once more, with all of its memory while it stands still: how fast its pages travel
  /// when nothing else wants the processors, GB/s.
  virtual Result<double> stream() { return Error{"not measured"}; }
  /// The program's first process as this machine sees it.
  virtual pid_t pid() = 0;
};

/// Hob: two starters of this build, a TCP link with encryption between them.
std::unique_ptr<Mover> make_hob();

/// CRIU between two pairs of pid and mount namespaces. Images lie in `directory`, a tmpfs.
enum class CriuWay { dump_restore, lazy_pages };
std::unique_ptr<Mover> make_criu(const std::string& binary, CriuWay way,
                                 const std::string& directory);

}  // namespace hob::bench
