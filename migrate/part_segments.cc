#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/syscall.h>

#include <algorithm>

#include "migrate/parts.h"

/// Segments: where processes have attached shared memory of System V. The memory itself is the
/// tree's (ipc.h).
namespace hob::migrate {
namespace {

uint64_t pages_of(const SegmentImage& segment) {
  return (segment.size + kPage - 1) & ~(kPage - 1);
}

/// The mappings that one shmat(2) has made: those from `first` on that follow each other.
size_t end_of_attachment(const std::vector<MappingImage>& all, size_t first) {
  size_t end = first + 1;
  while (end < all.size() && all[end].kind == MappingKind::segment &&
         all[end].file == all[first].file && all[end].range.start == all[end - 1].range.end &&
         all[end].offset == all[end - 1].offset + all[end - 1].range.size())
    end++;
  return end;
}

Result<void> capture(ProcessCapture& c) {
  const std::vector<MappingImage>& all = c.out.mappings;
  for (size_t i = 0; i < all.size();) {
    if (all[i].kind != MappingKind::segment) {
      i++;
      continue;
    }
    const size_t end = end_of_attachment(all, i);
    const SegmentImage& segment = c.image.ipc.segments[all[i].file];
    if (all[i].offset != 0 || all[end - 1].range.end - all[i].range.start != pages_of(segment))
      return obstacle(c.process.name(),
                      "it has unmapped a part of shared memory " + std::to_string(segment.id));
    i = end;
  }
  return {};
}

// Attached writable, as the memory is the user's own; then protected as it was.
Result<void> rebuild(Rebuild& r) {
  const std::vector<MappingImage>& all = r.process.mappings;
  for (size_t i = 0; i < all.size();) {
    if (all[i].kind != MappingKind::segment) {
      i++;
      continue;
    }
    const size_t end = end_of_attachment(all, i);
    const bool code = std::any_of(&all[i], &all[i] + (end - i), [](const MappingImage& m) {
      return (m.protection & PROT_EXEC) != 0;
    });
    r.space.must("attach shared memory", SYS_shmat,
                 {static_cast<uint64_t>(r.image.ipc.segments[all[i].file].id), all[i].range.start,
                  code ? uint64_t{SHM_EXEC} : 0});
    for (; i < end; i++)
      if (all[i].protection != (PROT_READ | PROT_WRITE))
        r.space.must("protect shared memory", SYS_mprotect,
                     {all[i].range.start, all[i].range.size(), all[i].protection});
  }
  // When all processes have attached: what nobody has, goes.
  if (r.process.pid == r.image.processes.front().pid)
    for (const SegmentImage& segment : r.image.ipc.segments)
      if (segment.removed)
        r.threads[0].must("remove shared memory", SYS_shmctl,
                          {static_cast<uint64_t>(segment.id), IPC_RMID, 0});
  return {};
}

}  // namespace

const Part kSegments = {"segments", nullptr, capture, nullptr, rebuild};

}  // namespace hob::migrate
