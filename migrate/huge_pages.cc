#include "migrate/huge_pages.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <set>
#include <utility>

#include "migrate/parts.h"

namespace hob::migrate {
namespace {

constexpr unsigned kLog2 = 21;
static_assert(kHugePage == uint64_t{1} << kLog2);

Result<struct statfs> file_system_of(Tid process, const proc::Mapping& m) {
  char link[64];
  std::snprintf(link, sizeof link, "map_files/%lx-%lx", m.range.start, m.range.end);
  const Fd file = TRY(open_file(proc::path(process, link), O_PATH));
  struct statfs fs {};
  if (::fstatfs(file.get(), &fs) < 0) return Error::sys("look at", m.name);
  return fs;
}

Result<uint64_t> counter(const char* name) {
  const std::string text =
      TRY(read_file(std::string("/sys/kernel/mm/hugepages/hugepages-2048kB/") + name));
  uint64_t value = 0;
  if (std::from_chars(text.data(), text.data() + text.size(), value).ec != std::errc())
    return Error{"read the number of huge pages: the kernel's text has an unknown form", EPROTO};
  return value;
}

/// The pages of a file, mapped here; unmapped by the destructor.
class Window {
 public:
  Window(const Fd& file, uint64_t size)
      : size_(size),
        at_(::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, file.get(),
                   0)) {}
  ~Window() {
    if (ok()) ::munmap(at_, size_);
  }
  Window(const Window&) = delete;
  Window& operator=(const Window&) = delete;
  bool ok() const { return at_ != MAP_FAILED; }
  std::byte* at(uint64_t offset) { return static_cast<std::byte*>(at_) + offset; }

 private:
  uint64_t size_;
  void* at_;
};

}  // namespace

bool may_be_huge(const proc::Mapping& m) {
  return m.name.starts_with("/anon_hugepage") || m.name.starts_with("/memfd:");
}

Result<void> check_huge_size(Tid process, const proc::Mapping& m, const std::string& subject) {
  const struct statfs fs = TRY(file_system_of(process, m));
  if (fs.f_type == HUGETLBFS_MAGIC && static_cast<uint64_t>(fs.f_bsize) != kHugePage)
    return obstacle(subject, "huge pages of another size than 2 MiB");
  return {};
}

Result<uint32_t> count_huge_pages(const std::vector<Tid>& processes) {
  uint64_t count = 0;
  std::set<std::pair<dev_t, uint64_t>> shared;
  for (const Tid process : processes) {
    auto maps = proc::maps(process);
    if (!maps) continue;  // has just ended
    for (const proc::Mapping& m : *maps) {
      if (!may_be_huge(m)) continue;
      auto fs = file_system_of(process, m);
      if (!fs || fs->f_type != HUGETLBFS_MAGIC) continue;
      // Of a shared one the farthest page that is mapped would do; who maps it twice is rare.
      if (m.shared && !shared.emplace(m.device, m.inode).second) continue;
      count += (m.range.size() + (m.shared ? m.offset : 0)) / kHugePage;
    }
  }
  if (count > kMostHugePages)
    return obstacle("its memory", "more than 512 MiB of huge pages (hugetlb)");
  return static_cast<uint32_t>(count);
}

Result<void> check_free_huge_pages(uint32_t wanted) {
  if (wanted == 0) return {};
  auto free = counter("free_hugepages"), reserved = counter("resv_hugepages");
  const uint64_t there = free && reserved && *free > *reserved ? *free - *reserved : 0;
  if (there >= wanted) return {};
  return Error{"receive a guest with " + std::to_string(wanted) +
                   " huge pages of 2 MiB: this host has " + std::to_string(there) +
                   " to give; its administrator can set more aside (sysctl vm.nr_hugepages)",
               ENOMEM};
}

Result<Fd> make_huge_memory(const ObjectImage& object) {
  const std::string name = object.path.substr(object.path.rfind('/') + 1).substr(0, 200);
  Fd fd(::memfd_create(name.c_str(),
                       MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_HUGETLB | kLog2 << MAP_HUGE_SHIFT));
  if (!fd || ::ftruncate(fd.get(), static_cast<off_t>(object.size)) < 0)
    return Error::sys("make", "shared memory of huge pages");
  if (object.pieces.empty()) return fd;
  Window window(fd, object.size);
  if (!window.ok()) return Error::sys("map", "shared memory of huge pages");
  for (const ObjectPiece& piece : object.pieces) {
    // A page that cannot be had is an error here, and would be SIGBUS below.
    const uint64_t start = piece.offset & ~(kHugePage - 1);
    if (::fallocate(fd.get(), 0, static_cast<off_t>(start),
                    static_cast<off_t>(piece.offset + piece.content.size() - start)) < 0)
      return Error::sys("fill", "shared memory of huge pages");
    std::memcpy(window.at(piece.offset), piece.content.data(), piece.content.size());
  }
  return fd;
}

bool all_zero(const std::byte* memory, size_t size) {
  constexpr size_t kStep = 4096;
  static const std::byte zeros[kStep] = {};
  for (size_t at = 0; at < size; at += kStep)
    if (std::memcmp(memory + at, zeros, std::min(kStep, size - at)) != 0) return false;
  return true;
}

}  // namespace hob::migrate
