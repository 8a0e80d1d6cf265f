#include "migrate/change_tracker.h"

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <map>
#include <unordered_map>

#include "base/log.h"
#include "migrate/pagemap.h"
#include "migrate/proc.h"
#include "migrate/scratch.h"

namespace hob::migrate {
namespace {

// linux/userfaultfd.h of 6.7.
constexpr uint64_t kWpAsync = 1u << 15, kWpUnpopulated = 1u << 13;
constexpr uint64_t kUserModeOnly = 1;

constexpr Duration kStopLimit = seconds(2);

// Memory that the page stream carries. A hint: what it misses travels when the guest is stopped.
Result<Ranges> private_memory(Tid process) {
  Ranges ranges;
  for (const proc::Mapping& m : TRY(proc::maps(process)))
    if (!m.shared && m.inode == 0 &&
        (m.name.empty() || m.name == "[heap]" || m.name == "[stack]" ||
         m.name.compare(0, 6, "[anon:") == 0))
      ranges.push_back(m.range);
  return ranges;
}

Result<Ranges> populated(const PageMap& map, const Ranges& ranges) {
  Ranges found;
  for (const Range& r : joined(ranges)) TRY(map.scan(r, found));
  return found;
}

class WriteProtection final : public ChangeTracker {
 public:
  static Result<std::unique_ptr<ChangeTracker>> begin(Guest& guest, const Platform& platform) {
    auto tracker = std::make_unique<WriteProtection>();
    Captives captives = TRY(Captives::take(guest, kStopLimit, place_of(guest).processor));
    for (CaptiveProcess& process : captives.processes) {
      auto uffd = make_in(process, platform);
      if (uffd.ok())
        tracker->uffds_.emplace(process.pid, std::move(*uffd));
      else if (uffd.error().code != ESRCH)
        return std::move(uffd).error();
    }
    return std::unique_ptr<ChangeTracker>(std::move(tracker));
  }

  Result<Ranges> changed(Tid process) override {
    auto uffd = uffds_.find(process);
    if (uffd == uffds_.end()) return Ranges{};  // sent when all is stopped
    const PageMap map = TRY(PageMap::open(process));
    const Ranges memory = TRY(private_memory(process));
    const auto [known, first] = known_.try_emplace(process);
    for (const Range& r : hob::migrate::without(memory, known->second)) {
      uffdio_register watch = {};
      watch.range = {r.start, r.size()};
      watch.mode = UFFDIO_REGISTER_MODE_WP;
      // What cannot be watched (gone again, or of a kind of its own) travels when all is stopped.
      if (::ioctl(uffd->second.get(), UFFDIO_REGISTER, &watch) < 0) {
        if (errno == ESRCH) return Ranges{};
        continue;
      }
      if (first) continue;
      // Pages that mremap(2) has brought may still look protected (before 6.13 always, later where
      // the kernel joined their mapping with another), and writing to them would go unnoticed.
      uffdio_writeprotect clear = {};
      clear.range = watch.range;
      if (::ioctl(uffd->second.get(), UFFDIO_WRITEPROTECT, &clear) < 0 && errno == ESRCH)
        return Ranges{};
    }
    // Never again at the same addresses: a mapping that has lost its watch, or is another one now,
    // could not be told from one that has kept it.
    known->second = united(known->second, memory);
    Ranges written;
    for (const Range& r : joined(memory)) TRY(map.take_written(r, written));
    return written;
  }

  Result<Ranges> unchanged(Tid process) override {
    Ranges found;
    if (uffds_.find(process) == uffds_.end()) return found;
    const PageMap map = TRY(PageMap::open(process));
    for (const Range& r : joined(TRY(private_memory(process)))) TRY(map.scan_unwritten(r, found));
    return found;
  }

  bool differs(uint32_t, uint64_t, const std::byte*) override { return true; }
  bool exact() const override { return true; }

 private:
  // The guest's filter of system calls hides userfaultfd from it; not from us.
  static Result<Fd> make_in(CaptiveProcess& process, const Platform& platform) {
    CaptiveThread& leader = process.leader();
    const RemoteAddress instruction =
        TRY(syscall_instruction(process.pid, process.name(), TRY(vdso_of(process)), platform.vdso));
    TRY(leader.tracee.set_options(Tracee::kills_on_exit | Tracee::suspends_seccomp));
    auto made = [&]() -> Result<Fd> {
      const int64_t number =
          TRY(call_once(leader.tracee, instruction, leader.registers, SYS_userfaultfd,
                        {O_CLOEXEC | O_NONBLOCK | kUserModeOnly}));
      if (number < 0)
        return Error::sys("watch the memory of", process.name(), static_cast<int>(-number));
      auto borrowed = proc::borrow_descriptor(process.pid, static_cast<int>(number));
      TRY(call_once(leader.tracee, instruction, leader.registers, SYS_close,
                    {static_cast<uint64_t>(number)}));
      return borrowed;
    }();
    TRY(leader.tracee.set_options(Tracee::kills_on_exit));
    Fd uffd = TRY(std::move(made));
    uffdio_api api = {};
    api.api = UFFD_API;
    api.features = kWpAsync | kWpUnpopulated | UFFD_FEATURE_PAGEFAULT_FLAG_WP;
    if (::ioctl(uffd.get(), UFFDIO_API, &api) < 0)
      return Error::sys("watch the memory of", process.name());
    return uffd;
  }

  std::map<Tid, Fd> uffds_;
  std::map<Tid, Ranges> known_;  // addresses that have been watched
};

class Comparison final : public ChangeTracker {
 public:
  Result<Ranges> changed(Tid process) override {
    return populated(TRY(PageMap::open(process)), TRY(private_memory(process)));
  }
  Result<Ranges> unchanged(Tid) override { return Ranges{}; }
  bool differs(uint32_t process, uint64_t address, const std::byte* page) override {
    const XXH128_hash_t hash = XXH3_128bits(page, kPage);
    auto [known, fresh] = hashes_[process].try_emplace(address / kPage, hash);
    if (!fresh && XXH128_isEqual(known->second, hash)) return false;
    known->second = hash;
    return true;
  }
  bool exact() const override { return false; }

 private:
  std::map<uint32_t, std::unordered_map<uint64_t, XXH128_hash_t>> hashes_;
};

}  // namespace

Result<std::unique_ptr<ChangeTracker>> ChangeTracker::begin(Guest& guest, const Platform& platform,
                                                            Means means) {
  if (means == Means::best && PageMap::can_watch()) {
    auto tracker = WriteProtection::begin(guest, platform);
    if (tracker.ok()) return tracker;
    log::info("{}; comparing pages instead", tracker.error().text);
  }
  return std::unique_ptr<ChangeTracker>(std::make_unique<Comparison>());
}

}  // namespace hob::migrate
