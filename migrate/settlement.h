#pragma once

#include <vector>

#include "base/fd.h"
#include "base/result.h"
#include "migrate/image.h"
#include "migrate/types.h"

namespace hob::migrate {

/// What a draft leaves open of descriptions (as_drafted() in draft.h), and how it is set when the
/// image has come: positions of files, counters of eventfds, the bytes in pipes.
class Settlement {
 public:
  /// Takes hold of the descriptions that may need it. `process` has those of the draft from
  /// descriptor `opened` on.
  static Result<Settlement> prepare(const Image& draft, Tid process, int opened);

  /// Sets what differs in `image`, which must have the descriptions of the draft, and lets go of
  /// them. Once.
  Result<void> settle(const Image& image);

 private:
  struct Held {
    size_t description;
    Fd file;
    bool written = false;  // a file of a server, to which the source writes
  };
  struct HeldPipe {
    size_t pipe;
    Fd write_end;
  };
  std::vector<Held> held_;
  std::vector<HeldPipe> pipes_;
};

}  // namespace hob::migrate
