#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "migrate/handover.h"
#include "migrate/image.h"
#include "migrate/migrate.h"
#include "migrate/page_sink.h"
#include "migrate/restore.h"
#include "migrate/stubs.h"

namespace hob::migrate {

/// From an image to a guest in which everything is restored and nothing runs: what receiving a
/// guest and restarting a checkpoint have in common. The methods are steps, in their order; an
/// Error of any leaves nothing behind when the object goes.
class Landing {
 public:
  /// Checks the source's platform against this one, and parks copies of the tree in the sandbox, in
  /// their sessions and groups.
  static Result<Landing> prepare(const Guest& guest, const Announcement& announcement,
                                 Duration patience);
  Landing(Landing&&) noexcept = default;

  /// The source's kernel has another vdso than this one.
  bool other_kernel() const { return other_kernel_; }
  /// Where the image is to be put, or the draft before it.
  std::span<std::byte> image_memory();
  /// Decodes a draft of `size` bytes, and builds upon it what it can. What fails is tried again
  /// from the image.
  Result<void> draft(size_t size);
  /// Decodes it. If the tree has changed meanwhile, other copies are parked; this process must then
  /// have no other thread, and `end_threads` sees to it.
  Result<void> decode(size_t size, const std::function<Result<void>()>& end_threads = {});
  const Image& image() const { return *image_; }

  /// Files are open, address spaces stand; what is not in them yet will be asked for.
  Result<void> build(PageSink& sink);
  /// Threads are there, with their registers and the user's rights alone.
  Result<void> finish();
  /// After the commit: locks and addresses are the guest's here (handover.h).
  Result<void> take_over(Connection* source);
  /// The guest runs. Returns its root; `wishes` as Guest::wishes.
  pid_t resume(Wishes& wishes);

  void count(Report& report) const;

 private:
  Landing(const Guest& guest, SharedMemory memory, Duration patience);
  Result<void> park(const Tree& tree);
  std::optional<std::string> begins_anew() const;

  const Guest* guest_;
  Duration patience_;
  bool other_kernel_ = false;
  bool copy_ = false;                   ///< no source: a checkpoint is restarted
  std::unique_ptr<Platform> platform_;  // Restoration refers to it
  std::unique_ptr<SharedMemory> memory_;
  Range place_;        // of the image in memory_
  Range draft_place_;  // of the draft, before it
  std::unique_ptr<Image> draft_;
  bool built_ahead_ = false;           // upon the draft
  std::vector<Bytes> pages_of_draft_;  // that the image has been given
  std::unique_ptr<Stubs> stubs_;
  std::unique_ptr<Restoration> restoration_;  // before the stubs go
  std::unique_ptr<Image> image_;
  std::unique_ptr<Takeover> takeover_;
};

}  // namespace hob::migrate
