#include "migrate/memory_rebuild.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>

#include "migrate/draft.h"
#include "migrate/files.h"
#include "migrate/huge_pages.h"

namespace hob::migrate {
namespace {

bool written_through(const ProcessImage& p, size_t file) {
  return std::any_of(p.mappings.begin(), p.mappings.end(), [&](const MappingImage& m) {
    return m.kind == MappingKind::file && m.file == file && m.shared;
  });
}

}  // namespace

Result<void> adopt_memory(Adoption& a) {
  AsUser rights(a.guest.user);
  for (size_t i = 0; i < a.process.files.size(); i++) {
    const FileImage& file = a.process.files[i];
    const bool shared = written_through(a.process, i);
    auto opened = open_file(file.path, (shared ? O_RDWR : O_RDONLY) | O_NONBLOCK | O_NOCTTY);
    if (!opened && shared) opened = open_file(file.path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
    Fd fd = TRY(std::move(opened));
    struct stat st;
    if (::fstat(fd.get(), &st) < 0 || !S_ISREG(st.st_mode))
      return Error{"map " + file.path + ": it is not a regular file here", ENODEV};
    const int64_t modified = st.st_mtim.tv_sec * 1'000'000'000 + st.st_mtim.tv_nsec;
    if (!shared && (static_cast<uint64_t>(st.st_size) != file.size || modified != file.modified))
      return Error{
          "map " + file.path + ": it is another file here; hosts of a cell need the same one",
          ESTALE};
    if (::dup3(fd.get(), a.mapped_files + static_cast<int>(i), O_CLOEXEC) < 0)
      return Error::sys("place", file.path);
  }
  return {};
}

namespace {

void clear_address_space(Rebuild& r) {
  // The kernel's own pages step aside first, keeping their distances, which the code relies on.
  const Rebuild::Vdso& v = r.vdso;
  const uint64_t low = v.low();
  const uint64_t high = v.code.end;
  for (const Range& own : {v.vvar, v.vvar_clock, v.code})
    if (!own.empty())
      r.space.must("move the vdso aside", SYS_mremap,
                   {own.start, own.size(), own.size(), MREMAP_MAYMOVE | MREMAP_FIXED,
                    r.spare.start + (own.start - low)});
  const Range kept[] = {
      {r.workspace.remote().value, r.workspace.remote().value + r.workspace.size()},
      {r.spare.start, r.spare.start + (high - low)}};
  uint64_t at = 65536;  // vm.mmap_min_addr
  auto clear = [&](uint64_t end) {
    if (at < end) r.space.must("clear the address space", SYS_munmap, {at, end - at});
  };
  for (const Range& keep : kept) {
    clear(keep.start);
    at = keep.end;
  }
  clear(kUserEnd);
}

constexpr uint64_t kMapHuge = MAP_HUGETLB | 21u << MAP_HUGE_SHIFT;
static_assert(kHugePage == 1u << 21);

void advise(Rebuild& r, const MappingImage& m) {
  for (uint8_t flag = 1; flag <= static_cast<uint8_t>(Advice::mergeable);
       flag = static_cast<uint8_t>(flag << 1))
    // Whether a kernel knows huge pages is its own affair.
    if (m.advice & flag)
      r.space.may(SYS_madvise,
                  {m.range.start, m.range.size(), static_cast<uint64_t>(madvise_of(Advice{flag}))});
  // Pages are locked as they come: at once, it would wait for all of them.
  if (m.advice & static_cast<uint8_t>(Advice::locked))
    r.space.may(SYS_mlock2, {m.range.start, m.range.size(), MLOCK_ONFAULT});
}

// Files that a draft had were opened in the draft's order.
uint64_t descriptor_of(const Rebuild& r, const MappingImage& m) {
  if (m.kind == MappingKind::object) return static_cast<uint64_t>(r.objects) + m.file;
  const int place =
      r.drafted ? drafted_file(*r.drafted, r.process.files[m.file]) : static_cast<int>(m.file);
  return static_cast<uint64_t>(r.mapped_files + place);
}

void map(Rebuild& r, const MappingImage& m) {
  if (m.kind >= MappingKind::vdso) return;  // part_vdso.cc, part_segments.cc
  uint64_t flags = MAP_FIXED_NOREPLACE | (m.shared ? MAP_SHARED : MAP_PRIVATE);
  uint64_t fd = ~0ull;
  if (m.kind == MappingKind::file || m.kind == MappingKind::object)
    fd = descriptor_of(r, m);
  else
    flags |= MAP_ANONYMOUS | (m.kind == MappingKind::huge ? kMapHuge : MAP_NORESERVE);
  if (m.kind == MappingKind::stack ||
      (m.kind == MappingKind::anonymous && m.advice & static_cast<uint8_t>(Advice::grows_down)))
    flags |= MAP_GROWSDOWN;
  // Past the protection of huge pages nobody can write: they are protected when they are there.
  const bool later = m.kind == MappingKind::huge ||
                     (m.kind == MappingKind::object && !m.shared && r.image.objects[m.file].huge);
  const uint64_t protection = later ? PROT_READ | PROT_WRITE : m.protection;
  r.space.must("map", SYS_mmap, {m.range.start, m.range.size(), protection, flags, fd, m.offset});
  if (later && m.protection != protection)
    r.threads[0].must("protect", SYS_mprotect, {m.range.start, m.range.size(), m.protection});
  advise(r, m);
}

// `executable`: a descriptor, or none to leave it as it is.
void set_notes(Rebuild& r, uint32_t executable) {
  kernel::MemoryMap map = r.process.memory_map;
  map.auxv = r.workspace.put_bytes(r.process.auxv).value;
  map.auxv_size = static_cast<uint32_t>(r.process.auxv.size());
  map.exe_fd = executable;
  r.space.must("set the memory map", SYS_prctl,
               {kernel::kPrSetMm, kernel::kPrSetMmMap, r.workspace.put(map).value, sizeof map, 0});
}

// The last of all: nothing of the engine's is to be locked.
void lock_future(Rebuild& r) {
  if (r.process.lock_future == LockFuture::no) return;
  r.rights.must("lock future memory", SYS_mlockall,
                {static_cast<uint64_t>(MCL_FUTURE) |
                 (r.process.lock_future == LockFuture::on_fault ? MCL_ONFAULT : 0)});
}

}  // namespace

Result<void> build_memory(Rebuild& r) {
  clear_address_space(r);
  for (const MappingImage& m : r.process.mappings) map(r, m);
  const int first = r.process.executable_is_object ? r.objects : r.mapped_files;
  set_notes(r, static_cast<uint32_t>(first) + r.process.executable);
  lock_future(r);
  return {};
}

Result<void> rebuild_memory(Rebuild& r) {
  if (!r.drafted) return build_memory(r);
  const KeptMappings kept = kept_mappings(*r.drafted, r.process);
  for (size_t i = 0; i < kept.drafted.size(); i++) {
    const Range range = r.drafted->mappings[i].range;
    if (!kept.drafted[i]) r.space.must("unmap", SYS_munmap, {range.start, range.size()});
  }
  for (size_t i = 0; i < kept.now.size(); i++)
    if (!kept.now[i]) map(r, r.process.mappings[i]);
  set_notes(r, ~0u);
  lock_future(r);
  return {};
}

}  // namespace hob::migrate
