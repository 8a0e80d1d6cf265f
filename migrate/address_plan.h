#pragma once

#include <optional>
#include <vector>

#include "base/result.h"
#include "migrate/image.h"
#include "migrate/parts.h"

namespace hob::migrate {

/// Where, in a process that is being rebuilt, the engine's own things stand meanwhile: at addresses
/// that neither the copy of the engine nor the restored program uses.
struct AddressPlan {
  RemoteAddress workspace;
  Range spare;         ///< for the vdso while its place is cleared
  Rebuild::Vdso vdso;  ///< where the copy of the engine has it
};
Result<AddressPlan> plan_addresses(const std::vector<proc::Mapping>& stub,
                                   const ProcessImage& image, size_t workspace);

/// The highest free range of `size` bytes below kUserEnd that keeps `margin` from all that is used.
/// Pure; `used` in any order.
std::optional<uint64_t> find_hole(std::vector<Range> used, uint64_t size, uint64_t margin);

}  // namespace hob::migrate
