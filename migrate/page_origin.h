#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/result.h"
#include "migrate/captive.h"
#include "migrate/image.h"
#include "migrate/ranges.h"

namespace hob::migrate {

/// Where pages come from: stopped processes at the source, or what a target keeps of them. Named as
/// in the page stream (page_stream.h). Any thread may read.
class PageOrigin {
 public:
  virtual ~PageOrigin() = default;
  /// Processes, in the order in which they shall be sent, and kObjects.
  virtual std::vector<uint32_t> owners() const = 0;
  /// What holds something.
  virtual Result<Ranges> populated(uint32_t process) const = 0;
  /// The target gets the memory that it was told of and no other.
  virtual bool has(uint32_t process, uint64_t address) const = 0;
  /// Whole pages; what holds nothing reads as zeros.
  virtual Result<void> read(uint32_t process, uint64_t address, std::span<std::byte> to) const = 0;
};

/// Memory that travels by the page stream, and not in the image.
inline bool streamed(const MappingImage& m) {
  return m.kind == MappingKind::anonymous || m.kind == MappingKind::stack;
}

/// The memory of stopped processes and of the objects that they share. Refers to its arguments.
class LivePages final : public PageOrigin {
 public:
  LivePages(const std::vector<CaptiveProcess>& processes, const Image& image,
            const std::vector<Fd>& objects);
  std::vector<uint32_t> owners() const override;
  Result<Ranges> populated(uint32_t process) const override;
  bool has(uint32_t process, uint64_t address) const override;
  Result<void> read(uint32_t process, uint64_t address, std::span<std::byte> to) const override;

 private:
  Result<Ranges> populated_objects() const;
  /// Of image.processes; its size if there is none of that number.
  size_t index_of(uint32_t process) const;

  const std::vector<CaptiveProcess>& processes_;
  const Image& image_;
  const std::vector<Fd>& objects_;
};

}  // namespace hob::migrate
