#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace hob::migrate {

/// Memory that is there before it is needed. While a guest stands still, memory that the kernel has
/// to find and clear first costs 0.3 ms per MiB, as much as copying into it.
class Arena {
 public:
  /// `ready` bytes are touched now.
  explicit Arena(size_t ready);
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;
  ~Arena();

  /// Bytes of no certain content, for as long as the arena lives. Beyond `ready` they are slower.
  std::span<std::byte> take(size_t size);

 private:
  std::span<std::byte> all_;
  size_t used_ = 0;
  std::vector<std::vector<std::byte>> beyond_;
};

}  // namespace hob::migrate
