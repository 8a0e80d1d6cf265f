#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "base/fd.h"
#include "base/result.h"
#include "migrate/image.h"
#include "migrate/migrate.h"

/// Objects: inodes that no path leads to and that processes of the tree share or map. Memory
/// (memfd, shared anonymous memory) and files that have been deleted or replaced by others. They
/// travel with the job.
///
/// Where only mappings lead to an object its pages come with the page stream, like all memory.
/// Where a descriptor does, read(2) would find holes: such an object travels in the image, whole.
namespace hob::migrate {

/// The source's side: collects while the tree is captured.
class Objects {
 public:
  /// What is behind a link in /proc (fd/N, map_files/A-B). `name` is what the link or the line in
  /// maps says.
  struct Place {
    std::string link, name, subject;
    bool written_through = false;  ///< a shared mapping
  };
  /// Its index in Image::objects. An Error with code kObstacle: it cannot be carried.
  Result<uint32_t> add(const Place& place);
  /// read(2) and write(2) reach it, or private copies are made of it: its content must be there at
  /// once.
  void in_image(uint32_t index) { entries_[index].image.streamed = 0; }
  /// Reads what travels in the image, and fills Image::objects.
  Result<void> finish(Image& image);
  /// By index; open for reading, for the page stream.
  std::vector<Fd> take_files();

 private:
  struct Entry {
    ObjectImage image;
    Fd file;
  };
  std::map<std::pair<dev_t, ino_t>, uint32_t> known_;
  std::vector<Entry> entries_;
};

/// The extents of a file that hold something, in whole pages.
Result<std::vector<Range>> populated(const Fd& file, uint64_t size);

/// The target's side, in the first process of the tree: a new inode with the content that
/// travelled, open for reading and writing. With the user's rights. A deleted file comes back
/// without a name in the directory it had one in, and as memory where that cannot be.
Result<Fd> make_object(const ObjectImage& object, const Credentials& user);

}  // namespace hob::migrate
