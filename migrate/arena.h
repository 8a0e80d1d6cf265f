#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace hob::migrate {

/// Makes `size` bytes of `memory`, from `start` on, present, so that no freeze pays for it. Where
/// that fails, later will do.
void touch(std::span<std::byte> memory, size_t start, size_t size);

/// Memory that is there before it is needed. While a guest stands still, memory that the kernel has
/// to find and clear first costs 0.3 ms per MiB, as much as copying into it. To give it back costs
/// a quarter of that, when the guest may run beside it already.
class Arena {
 public:
  /// Room for `size` bytes; none is there yet.
  explicit Arena(size_t size);
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;
  ~Arena();

  /// The next `size` bytes are touched now.
  void prepare(size_t size);
  /// Bytes of no certain content, for as long as the arena lives; more than there is room for, too.
  std::span<std::byte> take(size_t size);

 private:
  std::span<std::byte> all_;
  size_t used_ = 0;
  std::vector<std::vector<std::byte>> beyond_;
};

}  // namespace hob::migrate
