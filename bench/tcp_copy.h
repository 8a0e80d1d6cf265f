#pragma once

#include "base/result.h"
#include "migrate/types.h"

namespace hob::bench {

/// What the page stream is compared with: reads the largest mapping of a running process, sends it
/// through one TCP connection over loopback without encryption, protocol or looking at it, and lets
/// the other end receive it into new memory. GB/s.
Result<double> bare_tcp_copy(migrate::Tid process);

}  // namespace hob::bench
