#pragma once

#include <array>
#include <string>

#include "base/fd.h"
#include "base/result.h"
#include "migrate/image.h"
#include "migrate/migrate.h"
#include "migrate/page_store.h"

/// Checkpoints: the image of a guest and all its pages in one file, from which it can go on.
///
/// Bytes. Page 0: "HOBCKPT1", u32 version, u32 zero, u64 offset and u64 size of the index, SHA-256
/// of the index, SHA-256 of all between page 0 and the index; written last, so that a file that was
/// not finished is not a checkpoint. Then
/// pages, in the order in which they came. Then the index (CheckpointIndex, format in
/// image_codec.cc): announcement, the image (with what SourceHooks::frozen gave), and where each
/// page lies. Rejected: pages inside the image (it is read whole, they need not be), a file per
/// process (a checkpoint is one thing to copy and to delete).
///
/// The digests find damage, not malice: whoever may restart a file may have made it, and it is
/// restored with that user's rights alone.
namespace hob::migrate {

/// The target of a send() with SendOptions::copy: writes what comes to `file`, which should be
/// empty. Returns the file's size. An Error: the file is no checkpoint; the source goes on, told or
/// not.
Result<uint64_t> record_checkpoint(Listener listener, Fd file, Duration patience);

/// A checkpoint that was read, but for its pages. Hostile bytes give an Error.
class CheckpointFile {
 public:
  static Result<CheckpointFile> read(Fd file);
  const Announcement& announcement() const { return index_.announcement; }
  std::span<const std::byte> image() const { return index_.image; }
  uint64_t size() const { return size_; }
  /// The guest's CLOCK_MONOTONIC when it was made, ns. It must not go back: a sandbox for it needs
  /// clock offsets to match.
  int64_t monotonic() const { return monotonic_; }
  /// Reads all pages: are they those that were written? Takes a second per GiB or so; a program
  /// that has begun on damaged ones could not be taken back.
  Result<void> verify() const;
  /// The pages, read from the file as they are asked for.
  Result<PageStore> store() const;

 private:
  using Digest = std::array<uint8_t, 32>;
  CheckpointFile(Fd file, CheckpointIndex index, uint64_t pages_end, const Digest& pages_digest,
                 uint64_t size, int64_t monotonic)
      : file_(std::move(file)),
        index_(std::move(index)),
        pages_end_(pages_end),
        pages_digest_(pages_digest),
        size_(size),
        monotonic_(monotonic) {}
  Fd file_;
  CheckpointIndex index_;
  uint64_t pages_end_;
  Digest pages_digest_;
  uint64_t size_;
  int64_t monotonic_;
};

}  // namespace hob::migrate
