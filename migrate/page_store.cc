#include "migrate/page_store.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <optional>

namespace hob::migrate {
namespace {

Result<void> put_in(const Fd& file, std::span<const std::byte> bytes, uint64_t offset) {
  return write_at(file.get(), bytes, offset, "keep pages in", "the file for them (is there room?)");
}

}  // namespace

Result<PageStore> PageStore::in_memory() {
  Fd file(::memfd_create("hob-pages", MFD_CLOEXEC));
  if (!file) return Error::sys("make memory for", "pages");
  return PageStore(std::move(file));
}

Result<PageStore> PageStore::in_directory(const std::string& directory) {
  return PageStore(TRY(open_file(directory, O_TMPFILE | O_RDWR, 0600)));
}

Result<bool> PageStore::take(const stream::Record& record) {
  switch (record.kind) {
    case stream::Kind::populated: {
      Ranges ranges;
      for (size_t i = 0; i < record.range_count(); i++) ranges.push_back(record.range(i));
      Ranges& known = owners_[record.process].populated;
      known = united(known, ranges);
      return false;
    }
    case stream::Kind::cleared:
      for (size_t i = 0; i < record.range_count(); i++) forget(record.process, record.range(i));
      return false;
    case stream::Kind::pages:
      TRY(put(record.process, record.address, record.pages));
      return false;
    case stream::Kind::end:
      drop_what_is_gone();
      return true;
    default:
      return false;
  }
}

template <class F>
Result<void> PageStore::each_part(const Pieces& pieces, Range range, F&& call) {
  auto at = pieces.upper_bound(range.start);
  if (at != pieces.begin() && std::prev(at)->second.end > range.start) --at;
  while (!range.empty()) {
    const bool none = at == pieces.end() || at->first >= range.end;
    if (none || range.start < at->first) {
      const uint64_t end = none ? range.end : at->first;
      TRY(call(Range{range.start, end}, std::optional<uint64_t>()));
      range.start = end;
      continue;
    }
    const uint64_t end = std::min(range.end, at->second.end);
    TRY(call(Range{range.start, end},
             std::optional<uint64_t>(at->second.offset + (range.start - at->first))));
    range.start = end;
    ++at;
  }
  return {};
}

Result<void> PageStore::put(uint32_t process, uint64_t address, std::span<const std::byte> pages) {
  Pieces& pieces = owners_[process].pieces;
  Ranges fresh;
  TRY(each_part(pieces, {address, address + pages.size()},
                [&](Range part, std::optional<uint64_t> offset) -> Result<void> {
                  if (!offset) return fresh.push_back(part), Result<void>();
                  return put_in(file_, pages.subspan(part.start - address, part.size()), *offset);
                }));
  for (const Range& part : fresh) {
    TRY(put_in(file_, pages.subspan(part.start - address, part.size()), end_));
    auto next = pieces.lower_bound(part.start);
    Piece* before = next == pieces.begin() ? nullptr : &std::prev(next)->second;
    if (before && before->end == part.start &&
        before->offset + (part.start - std::prev(next)->first) == end_)
      before->end = part.end;
    else
      pieces.emplace(part.start, Piece{part.end, end_});
    end_ += part.size();
  }
  pages_ += pages.size() / kPage;
  return {};
}

void PageStore::forget(uint32_t process, Range range) {
  Pieces& pieces = owners_[process].pieces;
  auto at = pieces.upper_bound(range.start);
  if (at != pieces.begin() && std::prev(at)->second.end > range.start) --at;
  while (at != pieces.end() && at->first < range.end) {
    const uint64_t start = at->first;
    const Piece piece = at->second;
    at = pieces.erase(at);
    if (start < range.start) pieces.emplace(start, Piece{range.start, piece.offset});
    if (range.end < piece.end)
      pieces.emplace(range.end, Piece{piece.end, piece.offset + (range.end - start)});
  }
}

// Sent once, and given back by the guest before it was stopped: reads as zeros now.
void PageStore::drop_what_is_gone() {
  for (auto& [process, owner] : owners_) {
    Ranges kept;
    for (const auto& [start, piece] : owner.pieces) kept.push_back({start, piece.end});
    for (const Range& gone : without(kept, owner.populated)) forget(process, gone);
  }
}

void PageStore::set_populated(uint32_t process, Ranges ranges) {
  owners_[process].populated = std::move(ranges);
}

std::vector<uint32_t> PageStore::owners() const {
  std::vector<uint32_t> all;
  for (const auto& [process, owner] : owners_) all.push_back(process);
  return all;
}

Result<Ranges> PageStore::populated(uint32_t process) const {
  auto at = owners_.find(process);
  return at == owners_.end() ? Ranges{} : at->second.populated;
}

bool PageStore::has(uint32_t process, uint64_t address) const {
  return address % kPage == 0 && owners_.count(process);
}

Result<void> PageStore::read(uint32_t process, uint64_t address, std::span<std::byte> to) const {
  auto owner = owners_.find(process);
  CHECK(owner != owners_.end());
  // Populated, and never sent: all zero.
  return each_part(owner->second.pieces, {address, address + to.size()},
                   [&](Range part, std::optional<uint64_t> offset) -> Result<void> {
                     const auto here = to.subspan(part.start - address, part.size());
                     if (offset)
                       return read_at(file_.get(), here, *offset, "read", "pages that were kept");
                     std::fill(here.begin(), here.end(), std::byte{});
                     return {};
                   });
}

std::vector<PageStore::Extent> PageStore::extents() const {
  std::vector<Extent> all;
  for (const auto& [process, owner] : owners_)
    for (const auto& [start, piece] : owner.pieces)
      all.push_back({process, start, piece.end - start, piece.offset});
  return all;
}

Result<void> PageStore::add(const Extent& e) {
  Pieces& pieces = owners_[e.process].pieces;
  auto next = pieces.lower_bound(e.address);
  if ((next != pieces.end() && next->first < e.address + e.size) ||
      (next != pieces.begin() && std::prev(next)->second.end > e.address))
    return Error{"read pages that were kept: two of them have one address", EBADMSG};
  pieces.emplace(e.address, Piece{e.address + e.size, e.offset});
  end_ = std::max(end_, e.offset + e.size);
  return {};
}

}  // namespace hob::migrate
