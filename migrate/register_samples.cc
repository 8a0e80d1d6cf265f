#include "migrate/register_samples.h"

#include <asm/perf_regs.h>
#include <linux/perf_event.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "migrate/proc.h"

namespace hob::migrate {
namespace {

constexpr uint64_t kPeriod = 50'000;  // ns
constexpr size_t kMostWatched = 8;
// One page for the kernel's notes and a power of two for samples: 200 of them, 10 ms.
constexpr size_t kBufferSize = 8 * kPage, kMappedSize = kPage + kBufferSize;

constexpr uint64_t bit(int number) {
  return uint64_t{1} << number;
}
constexpr uint64_t kRegisters =
    bit(PERF_REG_X86_AX) | bit(PERF_REG_X86_BX) | bit(PERF_REG_X86_CX) | bit(PERF_REG_X86_DX) |
    bit(PERF_REG_X86_SI) | bit(PERF_REG_X86_DI) | bit(PERF_REG_X86_BP) | bit(PERF_REG_X86_R8) |
    bit(PERF_REG_X86_R9) | bit(PERF_REG_X86_R10) | bit(PERF_REG_X86_R11) | bit(PERF_REG_X86_R12) |
    bit(PERF_REG_X86_R13) | bit(PERF_REG_X86_R14) | bit(PERF_REG_X86_R15);
constexpr size_t kCount = 15;

struct Sample {  // perf_event_open(2), PERF_RECORD_SAMPLE of PERF_SAMPLE_REGS_USER
  perf_event_header header;
  uint64_t abi;
  uint64_t registers[kCount];
};

Fd open_event(Tid thread) {
  perf_event_attr attributes = {};
  attributes.size = sizeof attributes;
  attributes.type = PERF_TYPE_SOFTWARE;
  attributes.config = PERF_COUNT_SW_TASK_CLOCK;
  attributes.sample_period = kPeriod;
  attributes.sample_type = PERF_SAMPLE_REGS_USER;
  attributes.sample_regs_user = kRegisters;
  attributes.disabled = 1;
  attributes.exclude_kernel = attributes.exclude_hv = 1;
  return Fd(static_cast<int>(
      ::syscall(SYS_perf_event_open, &attributes, thread.value, -1, -1, PERF_FLAG_FD_CLOEXEC)));
}

}  // namespace

void RegisterSamples::Unmap::operator()(void* at) const {
  ::munmap(at, kMappedSize);
}

void RegisterSamples::watch(Tid process) {
  const auto threads = proc::threads(process);
  if (!threads) return;
  for (const Tid thread : *threads) {
    if (watched_.size() == kMostWatched) return;
    const auto stat = proc::stat(thread);
    if (!stat || stat->state != 'R') continue;
    Fd event = open_event(thread);
    if (!event) return;
    void* samples =
        ::mmap(nullptr, kMappedSize, PROT_READ | PROT_WRITE, MAP_SHARED, event.get(), 0);
    if (samples == MAP_FAILED) return;
    watched_.push_back({process, std::move(event), {samples, Unmap()}});
  }
}

void RegisterSamples::begin() {
  for (const Watched& w : watched_) ::ioctl(w.event.get(), PERF_EVENT_IOC_ENABLE, 0);
}

TouchedPages RegisterSamples::take() {
  std::map<Tid, std::vector<uint64_t>> words;
  for (const Watched& w : watched_) {
    ::ioctl(w.event.get(), PERF_EVENT_IOC_DISABLE, 0);
    std::vector<uint64_t>& seen = words[w.process];
    const auto* notes = static_cast<const perf_event_mmap_page*>(w.samples.get());
    const auto* at = static_cast<const std::byte*>(w.samples.get()) + kPage;
    // Nobody has read meanwhile, so it does not wrap.
    const uint64_t end =
        std::min<uint64_t>(__atomic_load_n(&notes->data_head, __ATOMIC_ACQUIRE), kBufferSize);
    for (uint64_t i = 0; i + sizeof(perf_event_header) <= end;) {
      const auto* sample = reinterpret_cast<const Sample*>(at + i);
      if (sample->header.size < sizeof(perf_event_header)) break;
      if (sample->header.type == PERF_RECORD_SAMPLE && sample->header.size == sizeof(Sample))
        seen.insert(seen.end(), std::begin(sample->registers), std::end(sample->registers));
      i += sample->header.size;
    }
  }
  watched_.clear();
  TouchedPages touched;
  for (const auto& [process, seen] : words) touched[process] = rank_pages(seen, kCount);
  return touched;
}

std::vector<uint64_t> rank_pages(std::span<const uint64_t> words, size_t per_sample) {
  std::map<uint64_t, size_t> named;
  for (size_t at = 0; at < words.size(); at += per_sample) {
    std::set<uint64_t> once;
    for (uint64_t word : words.subspan(at, std::min(per_sample, words.size() - at)))
      once.insert(word & ~(kPage - 1));
    for (uint64_t page : once) named[page]++;
  }
  std::vector<std::pair<uint64_t, size_t>> ranked(named.begin(), named.end());
  std::stable_sort(ranked.begin(), ranked.end(),
                   [](const auto& a, const auto& b) { return a.second > b.second; });
  std::vector<uint64_t> pages;
  for (const auto& [page, times] : ranked) pages.push_back(page);
  return pages;
}

}  // namespace hob::migrate
