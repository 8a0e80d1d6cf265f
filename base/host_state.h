#pragma once

#include <cstdint>
#include <string_view>

namespace hob {

/// What a workstation says of itself; Sprite's six states. hostd decides which one holds, the
/// coordinator acts on it, people read it in `remote hosts`.
enum class HostState : uint8_t {
  down,       ///< not heard of
  active,     ///< the owner is present
  idle,       ///< takes guests, has none
  part_used,  ///< takes guests, has some
  full,       ///< has as many guests as it takes
  refuses,    ///< the owner's policy, or the load of the owner's own programs, says no
};

inline constexpr std::string_view to_string(HostState state) {
  constexpr std::string_view names[] = {"DOWN", "ACTIVE", "IDLE", "PART_USED", "FULL", "REFUSES"};
  return names[static_cast<uint8_t>(state)];
}

}  // namespace hob
