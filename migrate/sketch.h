#pragma once

#include "base/result.h"
#include "migrate/advice.h"
#include "migrate/arena.h"
#include "migrate/image.h"
#include "migrate/known_files.h"
#include "migrate/migrate.h"

namespace hob::migrate {

/// A draft, and what else helps to capture the same guest sooner.
struct Sketch {
  Image draft;
  std::vector<std::string> maps;  ///< /proc/PID/maps of draft.processes
  KnownFiles files;
};

/// Makes a draft (draft.h) of a guest that runs. An Error means only that there is none: something
/// in the guest is of a kind that drafts do not have, or changed while it was read. The bytes of
/// its pages lie in `arena`.
Result<Sketch> sketch(const Guest& guest, const Advices& advices, const Platform& platform,
                      Arena& arena);

}  // namespace hob::migrate
