#pragma once

#include "base/result.h"
#include "migrate/image.h"
#include "migrate/types.h"

namespace hob::migrate {

/// Reads what is in the pipe behind a descriptor and leaves it there, with the pipe's capacity.
Result<PipeImage> peek_pipe(Tid process, int fd);

}  // namespace hob::migrate
