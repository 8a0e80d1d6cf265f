#pragma once

#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "base/fd.h"
#include "base/result.h"
#include "migrate/page_origin.h"
#include "migrate/page_stream.h"

namespace hob::migrate {

/// Pages that a target keeps: those of a guest before it lives here (pre-copy, flush), or those of
/// a checkpoint. In one file, each page once: what is put again is written over.
///
/// One thread fills it; when it is complete, any may read.
class PageStore final : public PageOrigin {
 public:
  /// Pages lie in `file` from `start` (a multiple of the page size) on.
  explicit PageStore(Fd file, uint64_t start = 0) : file_(std::move(file)), end_(start) {}
  /// In memory, which counts as this process's.
  static Result<PageStore> in_memory();
  /// In an unlinked file of the directory, which vanishes with its last descriptor.
  static Result<PageStore> in_directory(const std::string& directory);

  /// What a record of the page stream says. True: it was the last one; what is not populated then
  /// has been forgotten.
  Result<bool> take(const stream::Record& record);
  Result<void> put(uint32_t process, uint64_t address, std::span<const std::byte> pages);
  void set_populated(uint32_t process, Ranges ranges);

  std::vector<uint32_t> owners() const override;
  Result<Ranges> populated(uint32_t process) const override;
  bool has(uint32_t process, uint64_t address) const override;
  Result<void> read(uint32_t process, uint64_t address, std::span<std::byte> to) const override;

  /// Where pages lie in the file.
  struct Extent {
    uint32_t process = 0;
    uint64_t address = 0, size = 0, offset = 0;
  };
  std::vector<Extent> extents() const;
  /// For a store read back: the pages are in the file already. Extents must not overlap.
  Result<void> add(const Extent& extent);
  const Fd& file() const { return file_; }
  uint64_t end() const { return end_; }
  uint64_t pages() const { return pages_; }

 private:
  struct Piece {
    uint64_t end, offset;
  };
  using Pieces = std::map<uint64_t, Piece>;  // by address
  struct Owner {
    Pieces pieces;
    Ranges populated;
  };
  /// Calls with each part of `range` that lies within one piece (its file offset), or in none.
  template <class F>
  static Result<void> each_part(const Pieces& pieces, Range range, F&& call);
  void forget(uint32_t process, Range range);
  void drop_what_is_gone();

  Fd file_;
  uint64_t end_ = 0;
  uint64_t pages_ = 0;  // put, whether new or again
  std::map<uint32_t, Owner> owners_;
};

}  // namespace hob::migrate
