#pragma once

#include <memory>

#include "base/result.h"
#include "migrate/capture.h"
#include "migrate/ranges.h"
#include "migrate/types.h"

namespace hob::migrate {

/// Which memory of running processes has changed since it was read: what pre-copy must send again.
///
/// Two means. Write protection: the kernel notes the first write to each page (UFFD_WP_ASYNC and
/// PAGEMAP_SCAN, since 6.7); 0.8 us for each page written, 1 ms per GiB and round (ENGINE.md
/// section 4). Comparison: everything is read again and compared with a hash of what was sent; no
/// cost to the guest, but the freeze grows with memory (200 ms per GiB).
///
/// Processes are named by what the kernel calls them here (Tid) and by their number in the page
/// stream. Processes made after begin() count as changed.
class ChangeTracker {
 public:
  enum class Means : uint8_t { best, comparison };
  /// Stops the guest for about a millisecond when write protection is begun. It ends when the
  /// object goes, and with it its cost.
  static Result<std::unique_ptr<ChangeTracker>> begin(Guest& guest, const Platform& platform,
                                                      Means means);
  virtual ~ChangeTracker() = default;

  /// While the guest runs: what may have changed since the last call (everything populated, at
  /// first). Whoever reads it after this call, and gets all later answers, misses no change.
  virtual Result<Ranges> changed(Tid process) = 0;
  /// With the guest stopped: what cannot have changed since changed() told it last. A subset of
  /// what is populated; it may name pages that changed() has never told.
  virtual Result<Ranges> unchanged(Tid process) = 0;
  /// A page that was read because of changed(), or of the lack of unchanged(): has its content
  /// changed?
  virtual bool differs(uint32_t process, uint64_t address, const std::byte* page) = 0;
  /// Is the size of changed() what will differ? Otherwise only sending tells.
  virtual bool exact() const = 0;
};

}  // namespace hob::migrate
