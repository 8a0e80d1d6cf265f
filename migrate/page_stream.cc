#include "migrate/page_stream.h"

#include <lz4.h>

#include <algorithm>
#include <cstring>

namespace hob::migrate::stream {
namespace {

Error malformed(const char* what) {
  return Error{std::string("the page stream: ") + what, EBADMSG};
}

}  // namespace

bool valid(uint32_t process) {
  return process == kObjects || (process > 0 && process <= (1u << 22));  // PID_MAX_LIMIT
}

bool valid(uint32_t process, Range range) {
  if (range.empty() || range.start % kPage || range.end % kPage) return false;
  if (process != kObjects) return range.end <= kUserEnd;
  return is_object(range.start) && range.start < kFirstObject << 1 &&
         range.size() <= uint64_t{1} << kObjectBits &&
         object_index(range.start) == object_index(range.end - kPage);
}

Range Record::range(size_t i) const {
  Range r;
  std::memcpy(&r, ranges.data() + i * sizeof r, sizeof r);
  return r;
}

Result<Record> decode_record(std::span<const std::byte> bytes, std::span<std::byte> scratch) {
  Head head;
  if (bytes.size() < sizeof head) return malformed("a record is too short");
  std::memcpy(&head, bytes.data(), sizeof head);
  const auto rest = bytes.subspan(sizeof head);
  Record record{head.kind, head.process, head.address, {}, {}};
  switch (head.kind) {
    case Kind::populated:
    case Kind::cleared:
    case Kind::received:
      if (!valid(head.process) || rest.size() % sizeof(Range))
        return malformed("a record of ranges is malformed");
      record.ranges = rest;
      for (size_t i = 0; i < record.range_count(); i++)
        if (!valid(head.process, record.range(i))) return malformed("a range is impossible");
      return record;
    case Kind::pages:
      record.pages = rest;
      break;
    case Kind::packed: {
      const int size = LZ4_decompress_safe(
          reinterpret_cast<const char*>(rest.data()), reinterpret_cast<char*>(scratch.data()),
          static_cast<int>(rest.size()), static_cast<int>(scratch.size()));
      if (size < 0) return malformed("packed pages cannot be unpacked");
      record.kind = Kind::pages;
      record.pages = scratch.first(static_cast<size_t>(size));
      break;
    }
    case Kind::mapped:
      if (!valid(head.process) || !rest.empty()) return malformed("a word is malformed");
      return record;
    case Kind::end:
      if (!rest.empty()) return malformed("its end is malformed");
      return record;
    default:
      return malformed("a record of unknown kind");
  }
  if (!valid(head.process) ||
      !valid(head.process, {head.address, head.address + record.pages.size()}))
    return malformed("a record of pages is malformed");
  return record;
}

size_t pack(std::span<const std::byte> pages, std::span<std::byte> to) {
  const size_t limit = std::min(to.size(), pages.size() - pages.size() / 10);
  const int size = LZ4_compress_default(reinterpret_cast<const char*>(pages.data()),
                                        reinterpret_cast<char*>(to.data()),
                                        static_cast<int>(pages.size()), static_cast<int>(limit));
  return size > 0 ? static_cast<size_t>(size) : 0;
}

}  // namespace hob::migrate::stream
