#pragma once

#include <cstdint>
#include <span>

#include "base/result.h"
#include "migrate/types.h"

/// What the two ends say to each other about pages, on the connections `demand` and `bulk`.
///
/// Constraints: a page that somebody waits for must not queue behind others, so it has a connection
/// of its own; little-endian; the records of the link give framing and authenticity. Addresses are
/// the source's. A process is named by its number inside the sandbox. Memory that processes share
/// is named by itself: the process is kObjects, and the address object_address().
namespace hob::migrate::stream {

inline constexpr uint32_t kObjects = ~0u;
/// Page addresses of Image::objects: above all of user space, 2^44 bytes for each.
inline constexpr int kObjectBits = 44;
inline constexpr uint64_t kFirstObject = uint64_t{1} << 62;
static_assert(kFirstObject > kUserEnd);
constexpr uint64_t object_address(uint32_t index, uint64_t offset) {
  return kFirstObject + (uint64_t{index} << kObjectBits) + offset;
}
constexpr bool is_object(uint64_t address) {
  return address >= kFirstObject;
}
constexpr uint64_t object_index(uint64_t address) {
  return (address - kFirstObject) >> kObjectBits;
}
constexpr uint64_t object_offset(uint64_t address) {
  return address & ((uint64_t{1} << kObjectBits) - 1);
}

/// Target to source on `demand`: send me this page.
struct Request {
  uint64_t address;
  uint32_t process;
  uint32_t pad;
};
/// Source to target on `demand`, followed by the page unless it is all zero.
struct Reply {
  uint64_t address;
  uint32_t process;
  uint32_t zero;
};

/// Source to target on `bulk`: the head of every record.
enum class Kind : uint32_t {
  populated = 1,  ///< followed by Ranges that hold something
  mapped = 2,     ///< all of this process's populated ranges have been told
  pages = 3,      ///< followed by the pages from `address` on; all-zero pages are left out
  end = 4,        ///< everything has been sent
  packed = 5,     ///< as `pages`, as one LZ4 block
  cleared = 6,    ///< followed by Ranges: pages sent before that are all zero now
  received = 7,  ///< target to source, on a link made again: Ranges that need not be sent; then end
};
struct Head {
  Kind kind;
  uint32_t process;
  uint64_t address;
};
static_assert(sizeof(Request) == 16 && sizeof(Reply) == 16 && sizeof(Head) == 16);

/// Pages per record: large enough for the stream's rate, small enough not to hold up a fault for
/// long (ENGINE.md section 3: UFFDIO_COPY is fastest at 256 KiB).
inline constexpr uint64_t kBatchBytes = 256u << 10;

/// Is it a process of a sandbox, or kObjects?
bool valid(uint32_t process);
/// Are these whole pages that the process (or one of the objects) could have?
bool valid(uint32_t process, Range range);

/// A record of `bulk`, checked: addresses are whole pages and of the right kind for the process,
/// ranges are not empty, sizes fit.
struct Record {
  Kind kind;
  uint32_t process;
  uint64_t address = 0;              ///< pages
  std::span<const std::byte> pages;  ///< pages; packed ones have been unpacked and have this kind
  std::span<const std::byte>
      ranges;  ///< populated, cleared, received: whole Ranges, perhaps not aligned
  Range range(size_t i) const;
  size_t range_count() const { return ranges.size() / sizeof(Range); }
};
/// `scratch`, of kBatchBytes, is where packed pages go. The result points into both.
Result<Record> decode_record(std::span<const std::byte> bytes, std::span<std::byte> scratch);

/// Packs pages with LZ4. 0: they did not become smaller by a tenth, or `to` is too small.
size_t pack(std::span<const std::byte> pages, std::span<std::byte> to);

}  // namespace hob::migrate::stream
