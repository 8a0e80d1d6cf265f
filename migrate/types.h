#pragma once

#include <sys/types.h>

#include <compare>
#include <cstddef>
#include <cstdint>

namespace hob::migrate {

inline constexpr uint64_t kPage = 4096;
/// End of user space with four-level page tables (Documentation/arch/x86/x86_64/mm.rst).
inline constexpr uint64_t kUserEnd = 0x7ffffffff000;

/// An address in another process. A number, so that nothing here can follow it by mistake.
struct RemoteAddress {
  uint64_t value = 0;
  auto operator<=>(const RemoteAddress&) const = default;
  RemoteAddress operator+(uint64_t n) const { return {value + n}; }
  uint64_t operator-(RemoteAddress other) const { return value - other.value; }
  explicit operator bool() const { return value != 0; }
  RemoteAddress page() const { return {value & ~(kPage - 1)}; }
};

/// A half-open range of addresses, [start, end).
struct Range {
  uint64_t start = 0, end = 0;
  auto operator<=>(const Range&) const = default;
  uint64_t size() const { return end - start; }
  bool empty() const { return start >= end; }
  bool contains(uint64_t address) const { return address >= start && address < end; }
  bool overlaps(const Range& other) const { return start < other.end && other.start < end; }
};

/// A thread (or the process it leads) as this host counts it: what ptrace and /proc take. The same
/// thread's number inside its sandbox is a plain pid_t named `inside`, or stands in the image.
struct Tid {
  pid_t value = 0;
  auto operator<=>(const Tid&) const = default;
};

}  // namespace hob::migrate
