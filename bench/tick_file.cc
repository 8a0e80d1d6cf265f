#include "bench/tick_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>

#include "base/fd.h"

namespace hob::bench {
namespace {

static_assert(sizeof(tick_slot) <= TICK_SLOT_SIZE);
constexpr Duration kAnswer =
    seconds(20);  // a program that is moved back and forth is never so long away

uint64_t load(const uint64_t& word) {
  return __atomic_load_n(&word, __ATOMIC_ACQUIRE);
}

template <class Condition>
Result<void> wait_until(const char* what, Duration limit, Condition condition) {
  for (const Time end = Clock::now() + limit; !condition();) {
    if (Clock::now() > end)
      return Error{std::string("wait for the program: it did not ") + what, ETIMEDOUT};
    ::usleep(500);
  }
  return {};
}

}  // namespace

TickFile::TickFile(std::string path, tick_slot* slots, unsigned count)
    : path_(std::move(path)), slots_(slots), count_(count) {}
TickFile::TickFile(TickFile&& other) noexcept
    : path_(std::move(other.path_)),
      slots_(std::exchange(other.slots_, nullptr)),
      count_(other.count_) {}
TickFile::~TickFile() {
  if (!slots_) return;
  ::munmap(slots_, size_t{count_} * TICK_SLOT_SIZE);
  ::unlink(path_.c_str());
}

Result<TickFile> TickFile::create(const std::string& path, unsigned slots) {
  static_assert(TICK_SLOT_SIZE % 4096 == 0);
  const size_t size = size_t{slots} * TICK_SLOT_SIZE;
  Fd file = TRY(open_file(path, O_RDWR | O_CREAT | O_TRUNC, 0666));
  if (::fchmod(file.get(), 0666) < 0 || ::ftruncate(file.get(), static_cast<off_t>(size)) < 0)
    return Error::sys("set up", path);
  void* at =
      ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, file.get(), 0);
  if (at == MAP_FAILED) return Error::sys("map", path);
  return TickFile(path, static_cast<tick_slot*>(at), slots);
}

static const tick_slot& slot_at(const tick_slot* first, unsigned index) {
  return *reinterpret_cast<const tick_slot*>(reinterpret_cast<const char*>(first) +
                                             size_t{index} * TICK_SLOT_SIZE);
}

Result<void> TickFile::wait_ready(Duration limit) const {
  return wait_until("set itself up", limit, [&] {
    for (unsigned i = 0; i < count_; i++)
      if (!load(slot_at(slots_, i).ready)) return false;
    return true;
  });
}

Result<void> TickFile::begin_anew() {
  for (unsigned i = 0; i < count_; i++)
    __atomic_fetch_add(&const_cast<tick_slot&>(slot_at(slots_, i)).asked, 1, __ATOMIC_RELEASE);
  return wait_until("answer", kAnswer, [&] {
    for (unsigned i = 0; i < count_; i++) {
      const tick_slot& slot = slot_at(slots_, i);
      if (load(slot.begun) != load(slot.asked)) return false;
    }
    return true;
  });
}

Result<void> TickFile::wait_ticking() const {
  std::vector<uint64_t> before;
  for (unsigned i = 0; i < count_; i++) before.push_back(load(slot_at(slots_, i).ticks));
  return wait_until("tick any more", kAnswer, [&] {
    for (unsigned i = 0; i < count_; i++)
      if (load(slot_at(slots_, i).ticks) == before[i]) return false;
    return true;
  });
}

TickFile::Gap TickFile::worst() const {
  Gap worst;
  for (unsigned i = 0; i < count_; i++) {
    const tick_slot& slot = slot_at(slots_, i);
    const Duration length(static_cast<int64_t>(load(slot.worst_ns)));
    if (length > worst.length)
      worst = {length, load(slot.worst_end_ns) - static_cast<uint64_t>(length.count())};
  }
  return worst;
}

Duration TickFile::worst_before(uint64_t wall_ns) const {
  const tick_slot& slot = slot_at(slots_, 0);
  const uint64_t noted = std::min<uint64_t>(load(slot.gaps), TICK_GAPS);
  uint64_t worst = 0;
  for (uint64_t i = 0; i < noted; i++)
    if (const auto& [length, end] = slot.gap[i]; end - length < wall_ns)
      worst = std::max(worst, length);
  return Duration(static_cast<int64_t>(worst));
}

std::vector<Duration> TickFile::faults() const {
  std::vector<Duration> all;
  const uint64_t noted = std::min<uint64_t>(load(slots_[0].faults), TICK_SAMPLES);
  for (uint64_t i = 0; i < noted; i++) all.push_back(Duration(slots_[0].fault_ns[i]));
  return all;
}

}  // namespace hob::bench
