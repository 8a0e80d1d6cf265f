#pragma once

#include <vector>

#include "base/result.h"
#include "migrate/advice.h"
#include "migrate/arena.h"
#include "migrate/captive.h"
#include "migrate/image.h"
#include "migrate/ptys.h"
#include "migrate/restore.h"

namespace hob::migrate {

/// An image, and what lies open behind it.
struct Captured {
  Image image;
  std::vector<Fd> objects;        ///< those of image.objects, open for reading
  std::vector<TakenBytes> taken;  ///< what had to be taken to be read: put back when this goes
};

/// Walks the table of parts over the stopped processes. `advices` were read before they were. An
/// Error with code kObstacle names what cannot be carried. Whatever it borrows of the processes it
/// has given back when it returns. The bytes of the image's pages lie in `arena`.
Result<Captured> capture(const Guest& guest, Captives& captives, const Advices& advices,
                         const Platform& platform, Arena& arena);

/// The guest's CLOCK_MONOTONIC now, in ns: ours plus its time namespace's offset.
Result<int64_t> guest_monotonic(Tid process);

}  // namespace hob::migrate
