#pragma once

#include <cstdint>

#include "migrate/types.h"

/// What the two ends say to each other after the resume, on the connections `demand` and `bulk`.
///
/// Constraints: a page that somebody waits for must not queue behind others, so it has a connection
/// of its own; little-endian; the records of the link give framing and authenticity. Addresses are
/// the source's. Processes are named by their index in the image. Memory that processes share is
/// named by itself: the process is kObjects, and the address object_address().
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
  populated = 1,  ///< followed by pairs of u64: ranges that hold something
  mapped = 2,     ///< all of this process's populated ranges have been told
  pages = 3,      ///< followed by the pages from `address` on; all-zero pages are left out
  end = 4,        ///< everything has been sent
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

}  // namespace hob::migrate::stream
