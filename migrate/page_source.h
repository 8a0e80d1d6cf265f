#pragma once

#include <vector>

#include "base/result.h"
#include "migrate/captive.h"
#include "migrate/image.h"
#include "migrate/link.h"

namespace hob::migrate {

/// The source's end of the page stream: serves what the target's programs wait for, and pushes all
/// the rest meanwhile.
struct Pushed {
  uint64_t pages = 0, demanded = 0;
};
/// Blocks until everything is pushed and the target has acknowledged it on `control`. The processes
/// must stay stopped; `objects` are the files behind image.objects. Uses a thread of its own for
/// the demands.
Result<Pushed> push_pages(const std::vector<CaptiveProcess>& processes, const Image& image,
                          const std::vector<Fd>& objects, Link& link);

}  // namespace hob::migrate
