#include "migrate/pagemap.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>

#include "migrate/kernel.h"
#include "migrate/proc.h"

namespace hob::migrate {
namespace {

void append(std::vector<Range>& out, Range range) {
  if (!out.empty() && out.back().end == range.start)
    out.back().end = range.end;
  else
    out.push_back(range);
}

// The kernel does not let others run meanwhile (preempt=none): 10 us per MiB, and a program that
// has just got its page waits.
constexpr uint64_t kPagesAtOnce = 2048;
constexpr uint64_t kThere = kernel::kPageIsPresent | kernel::kPageIsSwapped;

}  // namespace

const PageMap::Question PageMap::kPopulated = {
    .all = 0, .none = kernel::kPageIsFile | kernel::kPageIsZero, .any = kThere, .flags = 0};

long PageMap::ask(int fd, Range range, const Question& question,
                  std::span<kernel::PageRegion> regions, uint64_t& walked) {
  kernel::PageScan scan = {};
  scan.size = sizeof scan;
  scan.flags = question.flags;
  scan.start = range.start;
  scan.end = range.end;
  scan.vec = reinterpret_cast<uint64_t>(regions.data());
  scan.vec_len = regions.size();
  scan.max_pages = kPagesAtOnce;
  scan.category_inverted = question.none;
  scan.category_mask = question.all | question.none;
  scan.category_anyof_mask = question.any;
  scan.return_mask = kernel::kPageIsPresent;
  const long n = ::ioctl(fd, kernel::kPagemapScan, &scan);
  walked = scan.walk_end;
  return n;
}

Result<PageMap> PageMap::open(Tid process) {
  Fd fd = TRY(open_file(proc::path(process, "pagemap"), O_RDONLY));
  kernel::PageRegion one[1];
  uint64_t walked = 0;
  const bool scans = ask(fd.get(), {0, 0}, kPopulated, one, walked) >= 0;
  return PageMap(std::move(fd), scans);
}

bool PageMap::can_watch() {
  const auto own = open({::getpid()});
  return own.ok() && own->scans_;
}

Result<void> PageMap::scan(Range range, std::vector<Range>& out) const {
  if (range.empty()) return {};
  return scans_ ? ask_all(range, kPopulated, out) : read_entries(range, out);
}

Result<void> PageMap::take_written(Range range, std::vector<Range>& out) const {
  return ask_all(range,
                 {.all = kernel::kPageIsWatched | kernel::kPageIsWritten,
                  .none = kernel::kPageIsZero,
                  .any = kThere,
                  .flags = kernel::kScanProtects},
                 out);
}

Result<void> PageMap::scan_unwritten(Range range, std::vector<Range>& out) const {
  return ask_all(
      range,
      {.all = kernel::kPageIsWatched, .none = kernel::kPageIsWritten, .any = kThere, .flags = 0},
      out);
}

Result<void> PageMap::ask_all(Range range, const Question& question,
                              std::vector<Range>& out) const {
  kernel::PageRegion regions[512];
  while (range.start < range.end) {
    uint64_t walked = range.end;
    const long n = ask(fd_.get(), range, question, regions, walked);
    if (n < 0) return Error::sys("scan", "the page map");
    for (long i = 0; i < n; i++) append(out, {regions[i].start, regions[i].end});
    if (walked <= range.start) return Error{"scan the page map: no progress", EPROTO};
    range.start = walked;
  }
  return {};
}

Result<void> PageMap::read_entries(Range range, std::vector<Range>& out) const {
  constexpr uint64_t kPresent = 1ull << 63, kSwapped = 1ull << 62, kFile = 1ull << 61;
  uint64_t entries[4096];
  while (range.start < range.end) {
    const size_t want = std::min<uint64_t>(range.size() / kPage, 4096);
    const ssize_t got =
        ::pread(fd_.get(), entries, want * 8, static_cast<off_t>(range.start / kPage * 8));
    if (got <= 0) return Error::sys("read", "the page map", got < 0 ? errno : EFAULT);
    const auto count = static_cast<uint64_t>(got) / 8;
    for (uint64_t i = 0; i < count; i++)
      if (entries[i] & (kPresent | kSwapped) && !(entries[i] & kFile))
        append(out, {range.start + i * kPage, range.start + (i + 1) * kPage});
    range.start += count * kPage;
  }
  return {};
}

}  // namespace hob::migrate
