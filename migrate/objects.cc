#include "migrate/objects.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>

#include "migrate/files.h"
#include "migrate/huge_pages.h"
#include "migrate/parts.h"

namespace hob::migrate {
namespace {

/// What may travel in the image for the sake of objects: it is copied while the guest is frozen.
constexpr uint64_t kMostInImage = 512u << 20;

constexpr std::string_view kDeleted = " (deleted)";
constexpr std::string_view kMemfd = "/memfd:";

std::string without_mark(const std::string& name) {
  return name.ends_with(kDeleted) ? name.substr(0, name.size() - kDeleted.size()) : name;
}

bool is_memory(const Fd& file) {
  struct statfs fs {};
  return ::fstatfs(file.get(), &fs) == 0 &&
         (fs.f_type == TMPFS_MAGIC || fs.f_type == HUGETLBFS_MAGIC) &&
         ::fcntl(file.get(), F_GET_SEALS) >= 0;
}

Result<bool> is_huge(const Fd& file, const Objects::Place& place) {
  struct statfs fs {};
  if (::fstatfs(file.get(), &fs) < 0) return Error::sys("look at", place.name);
  if (fs.f_type != HUGETLBFS_MAGIC) return false;
  if (static_cast<uint64_t>(fs.f_bsize) != kHugePage)
    return obstacle(place.subject, "huge pages of another size than 2 MiB");
  if (::fcntl(file.get(), F_GET_SEALS) < 0 || !is_memory(file))
    return obstacle(place.subject, "a file of huge pages (hugetlbfs)");
  return true;
}

Result<void> read_piece(const Fd& file, Range range, ObjectImage& object) {
  ObjectPiece& piece = object.pieces.emplace_back();
  piece.offset = range.start;
  piece.content.resize(std::min(range.end, object.size) - range.start);
  for (size_t done = 0; done < piece.content.size();) {
    const ssize_t n = ::pread(file.get(), piece.content.data() + done, piece.content.size() - done,
                              static_cast<off_t>(range.start + done));
    if (n <= 0) return Error::sys("read", object.path, n < 0 ? errno : EIO);
    done += static_cast<size_t>(n);
  }
  return {};
}

// Such files know no holes: pages that nobody has touched read as zeros.
Result<void> read_huge(const Fd& file, Range extent, ObjectImage& object) {
  for (uint64_t at = extent.start; at < extent.end; at += kHugePage) {
    TRY(read_piece(file, {at, std::min(at + kHugePage, extent.end)}, object));
    const Bytes& content = object.pieces.back().content;
    if (all_zero(content.data(), content.size())) object.pieces.pop_back();
  }
  return {};
}

}  // namespace

Result<uint32_t> Objects::add(const Place& place) {
  struct stat st {};
  Fd file = TRY(open_file(place.link, O_RDONLY | O_NONBLOCK | O_NOCTTY));
  if (::fstat(file.get(), &st) < 0) return Error::sys("look at", place.name);
  if (!S_ISREG(st.st_mode)) return obstacle(place.subject, place.name);
  // It has another name: what is written must reach the file that others see under that.
  if (place.written_through && st.st_nlink > 0)
    return obstacle(place.subject, "the file " + place.name + ", which has been moved");
  const bool huge = TRY(is_huge(file, place));

  const auto [at, fresh] =
      known_.emplace(std::pair{st.st_dev, st.st_ino}, static_cast<uint32_t>(entries_.size()));
  if (!fresh) return at->second;
  Entry& entry = entries_.emplace_back();
  ObjectImage& object = entry.image;
  const std::string name = without_mark(place.name);
  object.huge = huge;
  object.kind = is_memory(file) ? ObjectKind::memory : ObjectKind::file;
  object.path = object.kind == ObjectKind::file ? name
                : name.starts_with(kMemfd)      ? name.substr(kMemfd.size())
                                                : name.substr(name.rfind('/') + 1);
  object.size = static_cast<uint64_t>(st.st_size);
  object.mode = st.st_mode & 0777;
  if (object.kind == ObjectKind::memory) {
    object.seals = static_cast<uint32_t>(::fcntl(file.get(), F_GET_SEALS));
    // userfaultfd fills only what may be written.
    object.streamed = !huge && (object.seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE)) == 0;
  }
  entry.file = std::move(file);
  return at->second;
}

Result<void> Objects::finish(Image& image) {
  uint64_t room = kMostInImage;
  for (Entry& entry : entries_) {
    ObjectImage& object = entry.image;
    if (!object.streamed) {
      const auto extents = TRY(populated(entry.file, object.size));
      uint64_t size = 0;
      for (const Range& extent : extents) size += extent.size();
      if (size > room)
        return obstacle(object.path,
                        "more than 512 MiB of memory or deleted files that descriptors lead to");
      room -= size;
      for (const Range& extent : extents)
        TRY(object.huge ? read_huge(entry.file, extent, object)
                        : read_piece(entry.file, extent, object));
    }
    image.objects.push_back(std::move(object));
  }
  return {};
}

std::vector<Fd> Objects::take_files() {
  std::vector<Fd> files;
  for (Entry& entry : entries_) files.push_back(std::move(entry.file));
  return files;
}

Result<std::vector<Range>> populated(const Fd& file, uint64_t size) {
  std::vector<Range> extents;
  for (off_t at = 0;;) {
    const off_t data = ::lseek(file.get(), at, SEEK_DATA);
    if (data < 0 && errno == ENXIO) return extents;
    const off_t hole = data < 0 ? -1 : ::lseek(file.get(), data, SEEK_HOLE);
    if (hole < 0) return Error::sys("find the extents of", "a file without a name");
    const auto start = static_cast<uint64_t>(data) & ~(kPage - 1);
    const auto end = (std::min(static_cast<uint64_t>(hole), size) + kPage - 1) & ~(kPage - 1);
    if (start < end) extents.push_back({start, end});
    at = hole;
  }
}

namespace {

/// memfd_create(2) since Linux 6.3: says whether it may be executed; older kernels always let it.
constexpr unsigned kMfdExec = 0x10;

Result<Fd> make_memory(const ObjectImage& object) {
  const std::string name = object.path.substr(object.path.rfind('/') + 1).substr(0, 200);
  Fd fd(::memfd_create(name.c_str(), MFD_CLOEXEC | MFD_ALLOW_SEALING | kMfdExec));
  if (!fd && errno == EINVAL)
    fd.reset(::memfd_create(name.c_str(), MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd) return Error::sys("make", "shared memory");
  return fd;
}

Fd make_unnamed_file(const ObjectImage& object) {
  const std::string directory = object.path.substr(0, object.path.rfind('/') + 1);
  return Fd(::open(directory.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, object.mode));
}

}  // namespace

Result<Fd> make_object(const ObjectImage& object, const Credentials& user) {
  AsUser rights(user);
  Fd fd;
  if (object.kind == ObjectKind::file) fd = make_unnamed_file(object);
  if (!fd) fd = TRY(object.huge ? make_huge_memory(object) : make_memory(object));
  if (::fchmod(fd.get(), object.mode) < 0 ||
      ::ftruncate(fd.get(), static_cast<off_t>(object.size)) < 0)
    return Error::sys("set up", object.path);
  for (const ObjectPiece& piece : object.pieces) {
    if (object.huge) break;  // they are there: write(2) cannot reach such memory
    if (::lseek(fd.get(), static_cast<off_t>(piece.offset), SEEK_SET) < 0)
      return Error::sys("seek in", object.path);
    TRY(write_all(fd.get(), piece.content, object.path));
  }
  if (object.kind == ObjectKind::memory && object.seals != 0 &&
      ::fcntl(fd.get(), F_ADD_SEALS, object.seals) < 0)
    return Error::sys("seal", object.path);
  return fd;
}

}  // namespace hob::migrate
