#pragma once

#include "base/result.h"
#include "migrate/advice.h"
#include "migrate/arena.h"
#include "migrate/image.h"
#include "migrate/migrate.h"

namespace hob::migrate {

/// Makes a draft (draft.h) of a guest that runs. An Error means only that there is none: something
/// in the guest is of a kind that drafts do not have, or changed while it was read. The bytes of
/// its pages lie in `arena`.
Result<Image> sketch(const Guest& guest, const Advices& advices, const Platform& platform,
                     Arena& arena);

}  // namespace hob::migrate
