#pragma once

#include <optional>
#include <string>
#include <vector>

#include "migrate/image.h"

/// A draft: what the image of a guest would be if it were made now, as far as it can be read while
/// the guest runs. The source sends it before it freezes the guest, and the target builds upon it:
/// files are opened, address spaces laid out, threads made. At the freeze only what differs is
/// left to do, and where too much does (a process has come or gone, a file has been opened), all
/// is built from the image as if there had been no draft.
///
/// A draft has the form of an image. In it are the tree; of each process the mappings, the changed
/// pages of private file mappings, the descriptors, and of its threads the ids; of what is shared
/// the descriptions, without what can be set later (see as_drafted()). Everything here is pure.
namespace hob::migrate {

/// Which of the mappings of a process the draft has in the same form.
struct KeptMappings {
  std::vector<bool> drafted, now;  ///< by index, of either
};
KeptMappings kept_mappings(const ProcessImage& draft, const ProcessImage& now);

/// Whether a draft can have mappings, or descriptions, of this kind.
bool can_be_drafted(MappingKind kind);
bool can_be_drafted(DescriptionKind kind);
/// Without the position of a file and the counter of an eventfd: they are set when all is built.
Description as_drafted(Description description);

/// Why what has been built upon the draft is of no use for the image; nothing if it is.
std::optional<std::string> difference(const Image& draft, const Image& now);

/// Of a process, the file of the draft that is the same as files[index] now; -1: there is none.
int drafted_file(const ProcessImage& draft, const FileImage& file);

/// An image that was sent behind a draft leaves out the pages that the draft has as they are. Puts
/// them back; `storage` holds their bytes.
void put_back_pages(Image& now, const Image& draft, std::vector<Bytes>& storage);

/// Pages that a draft had of a process, for the source: whether it has `page`, in a mapping that
/// is kept, with these bytes.
class DraftedPages {
 public:
  DraftedPages(const ProcessImage& draft, const ProcessImage& now);
  bool has(uint64_t page, const std::byte* bytes) const;
  /// All that it has in mappings that are kept, ascending: whatever they hold now.
  const std::vector<uint64_t>& all() const { return pages_; }

 private:
  const ProcessImage& draft_;
  std::vector<uint64_t> pages_;
  std::vector<size_t> places_;  // in draft_.pages
};

}  // namespace hob::migrate
