#pragma once

#include <vector>

#include "base/result.h"
#include "migrate/advice.h"
#include "migrate/arena.h"
#include "migrate/captive.h"
#include "migrate/image.h"
#include "migrate/ptys.h"
#include "migrate/register_samples.h"
#include "migrate/restore.h"
#include "migrate/scratch.h"
#include "migrate/sketch.h"

namespace hob::migrate {

/// An image, what lies open behind it, and what has been borrowed for it: given back when this
/// goes, before the captives do.
struct Captured {
  Image image;
  std::vector<Fd> objects;        ///< those of image.objects, open for reading
  std::vector<TakenBytes> taken;  ///< what had to be taken to be read: put back when this goes
  std::vector<Scratch> borrowed;  ///< of the memory of processes
};

/// What was learnt of the guest while it ran.
struct Beforehand {
  const Advices& advices;
  Sketch* sketch;  ///< null: there is no draft
  const TouchedPages& touched;
};

/// Walks the table of parts over the stopped processes.
/// `other_kernel`: threads inside the vdso go on until they are out of it. An Error with code
/// kObstacle names what cannot be carried. The bytes of the image's pages lie in `arena`; those
/// that the target has of the draft are left out.
Result<Captured> capture(const Guest& guest, Captives& captives, const Beforehand& known,
                         const Platform& platform, bool other_kernel, Arena& arena);

/// What the image holds, for the report of either end.
void count(const Image& image, Report& report);

/// The guest's CLOCK_MONOTONIC now, in ns: ours plus its time namespace's offset.
Result<int64_t> guest_monotonic(Tid process);

}  // namespace hob::migrate
