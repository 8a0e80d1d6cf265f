#include <fcntl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <set>

#include "migrate/files.h"
#include "migrate/huge_pages.h"
#include "migrate/ipc.h"
#include "migrate/pagemap.h"
#include "migrate/parts.h"
#include "migrate/waits.h"

/// Memory: the layout of the address space, the kernel's notes about it, and the pages that must be
/// there at once. All other pages follow by the page stream (page_source.h, page_sink.h).
namespace hob::migrate {
namespace {

bool starts(const std::string& text, std::string_view with) {
  return text.compare(0, with.size(), with) == 0;
}

// By the name that they have now.
Result<std::vector<proc::Mapping>> mappings_of(Tid process) {
  auto maps = TRY(proc::maps(process));
  for (proc::Mapping& m : maps)
    if (starts(m.name, "/dev/shm/") && m.name.ends_with(" (deleted)"))
      if (auto path = path_in_shm(process, m.inode)) m.name = *path;
  return maps;
}

/// What kind of mapping it is, or why it cannot be carried.
class Classifier {
 public:
  explicit Classifier(Tid process) : process_(process) {}
  Result<MappingKind> operator()(const proc::Mapping& m);

 private:
  // Deleted, replaced by another of the same name, or without a name from the start: no path leads
  // to an object.
  Result<MappingKind> file_or_object(const proc::Mapping& m, const char* where) {
    if (m.inode != inode_ || m.name != name_) {
      const auto st = stat_for(process_, m.name);
      if (st.ok() && st->st_ino == m.inode && !S_ISREG(st->st_mode))
        return obstacle(where, "memory of the device " + m.name);
      kind_ = st.ok() && st->st_ino == m.inode ? MappingKind::file : MappingKind::object;
      inode_ = m.inode;
      name_ = m.name;
    }
    return kind_;
  }
  Tid process_;
  uint64_t inode_ = 0;  // of the file looked at last: its mappings mostly follow each other
  std::string name_;
  MappingKind kind_ = MappingKind::file;
};

Result<MappingKind> Classifier::operator()(const proc::Mapping& m) {
  char where[40];
  std::snprintf(where, sizeof where, "mapping at %lx", m.range.start);
  if (m.name == "[vdso]") return MappingKind::vdso;
  if (m.name == "[vvar]") return MappingKind::vvar;
  if (m.name == "[vvar_vclock]") return MappingKind::vvar_clock;
  if (m.name == "[stack]") return MappingKind::stack;
  if (starts(m.name, "[anon_shmem:")) return MappingKind::object;
  if (m.name.empty() || m.name == "[heap]" || starts(m.name, "[anon:"))
    return MappingKind::anonymous;
  if (m.name[0] != '/') return obstacle(where, "unknown memory " + m.name);
  if (starts(m.name, "/dev/zero") && !m.shared) return MappingKind::anonymous;
  // The ring that io_setup(2) maps: the calls in it go on in the kernel here.
  if (starts(m.name, "/[aio]")) return obstacle(where, "kernel asynchronous I/O (io_setup)");
  if (starts(m.name, "/SYSV")) return MappingKind::segment;
  if (starts(m.name, "/anon_hugepage") && !m.shared) {
    TRY(check_huge_size(process_, m, where));
    return MappingKind::huge;
  }
  return file_or_object(m, where);
}

// The kernel's emulation of an ancient interface, the same in every process.
bool invisible(const proc::Mapping& m) {
  return m.name == "[vsyscall]";
}

void check(Inspection& i) {
  auto maps = mappings_of(i.pid);
  if (!maps || maps->empty()) return;  // has just ended
  bool vdso = false;
  Classifier classify(i.pid);
  for (const proc::Mapping& m : *maps) {
    if (invisible(m)) continue;
    auto kind = classify(m);
    if (!kind) {
      i.object(kind.error());
      continue;
    }
    if (i.table) {
      char range[40];
      std::snprintf(range, sizeof range, "%lx-%lx", m.range.start, m.range.end);
      i.follows(range, m.name, rule_for(*kind, m.shared));
    }
    vdso = vdso || *kind == MappingKind::vdso;
  }
  if (vdso) return;
  // A process that ends or executes while the kernel prints its list shows a part of it.
  maps = proc::maps(i.pid);
  if (!maps || maps->empty()) return;
  vdso = std::any_of(maps->begin(), maps->end(),
                     [](const proc::Mapping& m) { return m.name == "[vdso]"; });
  if (!vdso) i.object("", "it has unmapped its vdso");
}

Result<uint32_t> file_index(ProcessCapture& c, std::map<ino_t, uint32_t>& known,
                            const std::string& path, ino_t inode) {
  auto [at, fresh] = known.emplace(inode, static_cast<uint32_t>(c.out.files.size()));
  if (!fresh && c.out.files[at->second].path == path) return at->second;
  auto st = stat_for(c.process.pid, path);
  if (!st || st->st_ino != inode)
    return obstacle("mapping of " + path + " in " + c.process.name(), "the file has been replaced");
  c.out.files.push_back({path, static_cast<uint64_t>(st->st_size),
                         st->st_mtim.tv_sec * 1'000'000'000 + st->st_mtim.tv_nsec});
  return static_cast<uint32_t>(c.out.files.size() - 1);
}

// A shared mapping is written through to the page cache; other hosts see it when it is flushed.
Result<void> flush_shared(ProcessCapture& c, const proc::Mapping& m) {
  Fd file = TRY(open_file(proc::path(c.process.pid, "root") + m.name, O_RDONLY | O_NONBLOCK));
  return flush_if_remote(file.get(), m.name);
}

// The engine's own scratch memory is in the process while this looks; the kernel may have joined it
// with a neighbour.
std::vector<proc::Mapping> without(const std::vector<proc::Mapping>& maps, Range hole) {
  std::vector<proc::Mapping> rest;
  for (const proc::Mapping& m : maps) {
    if (!m.range.overlaps(hole)) {
      rest.push_back(m);
      continue;
    }
    proc::Mapping part = m;
    part.range = {m.range.start, hole.start};
    if (!part.range.empty()) rest.push_back(part);
    part.range = {hole.end, m.range.end};
    if (!part.range.empty()) rest.push_back(part);
  }
  return rest;
}

Result<uint32_t> object_index(ProcessCapture& c, const proc::Mapping& m) {
  char range[40];
  std::snprintf(range, sizeof range, "%lx-%lx", m.range.start, m.range.end);
  const uint32_t index = TRY(
      c.objects.add({proc::path(c.process.pid, std::string("map_files/") + range), m.name,
                     "mapping at " + std::string(range) + " of " + c.process.name(), m.shared}));
  if (!m.shared) c.objects.in_image(index);
  return index;
}

// The kernel shows the id of the segment as the inode's number.
Result<uint32_t> segment_index(const ProcessCapture& c, const proc::Mapping& m) {
  const auto& all = c.image.ipc.segments;
  const auto at = std::find_if(all.begin(), all.end(), [&](const SegmentImage& s) {
    return static_cast<uint64_t>(s.id) == m.inode;
  });
  if (at == all.end())
    return obstacle(c.process.name(), "System V shared memory that is not the job's own");
  return static_cast<uint32_t>(at - all.begin());
}

Result<void> capture_executable(ProcessCapture& c, std::map<ino_t, uint32_t>& known) {
  const std::string link = proc::path(c.process.pid, "exe");
  const std::string path = TRY(read_link(link));
  struct stat st;
  if (::stat(link.c_str(), &st) < 0)
    return Error::sys("look at the executable of", c.process.name());
  if (auto now = stat_for(c.process.pid, path); now.ok() && now->st_ino == st.st_ino) {
    c.out.executable = TRY(file_index(c, known, path, st.st_ino));
    return {};
  }
  c.out.executable = TRY(c.objects.add({link, path, "the executable of " + c.process.name()}));
  c.out.executable_is_object = 1;
  c.objects.in_image(c.out.executable);
  return {};
}

Result<void> capture_mappings(ProcessCapture& c) {
  std::map<ino_t, uint32_t> known;
  Classifier classify(c.process.pid);
  const uint64_t scratch = c.workspace.remote().value;
  const auto maps =
      without(TRY(mappings_of(c.process.pid)), {scratch, scratch + c.workspace.size()});
  for (const proc::Mapping& m : maps) {
    if (invisible(m)) continue;
    auto kind = classify(m);
    if (!kind) return std::move(kind).error().in(c.process.name());
    MappingImage& out = c.out.mappings.emplace_back();
    out.range = m.range;
    out.kind = *kind;
    out.protection = static_cast<uint8_t>(m.protection);
    out.advice = c.advices.of(c.process.pid, m.range);
    if (*kind == MappingKind::segment) out.file = TRY(segment_index(c, m));
    if (*kind == MappingKind::file || *kind == MappingKind::object ||
        *kind == MappingKind::segment) {
      out.shared = m.shared;
      out.offset = m.offset;
    }
    if (*kind != MappingKind::file && *kind != MappingKind::object) continue;
    if (*kind == MappingKind::object) {
      out.file = TRY(object_index(c, m));
      continue;
    }
    out.file = TRY(file_index(c, known, m.name, m.inode));
    if (m.shared && m.protection & PROT_WRITE) TRY(flush_shared(c, m));
  }
  return capture_executable(c, known);
}

Result<void> capture_notes(ProcessCapture& c) {
  const proc::Stat& s = c.process.stat;
  c.out.memory_map = {
      s.start_code, s.end_code, s.start_data, s.end_data, s.start_brk, 0, s.start_stack,
      s.arg_start,  s.arg_end,  s.env_start,  s.env_end,  0,           0, 0};
  c.leader.then(SYS_brk, {0}, [&c](int64_t result) -> Result<void> {
    c.out.memory_map.brk = static_cast<uint64_t>(result);
    return {};
  });
  const std::string auxv = TRY(proc::read(c.process.pid, "auxv"));
  const auto* bytes = reinterpret_cast<const std::byte*>(auxv.data());
  c.out.auxv.assign(bytes, bytes + auxv.size());
  return {};
}

// The pages that the kernel or the first instructions touch.
void add_hot_pages(ProcessImage& p, std::set<uint64_t>& pages) {
  auto find = [&](uint64_t page) -> const MappingImage* {
    auto m = std::upper_bound(p.mappings.begin(), p.mappings.end(), page,
                              [](uint64_t a, const MappingImage& x) { return a < x.range.end; });
    return m != p.mappings.end() && m->range.contains(page) ? &*m : nullptr;
  };
  auto add = [&](uint64_t address) {
    const uint64_t page = address & ~(kPage - 1);
    const MappingImage* m = find(page);
    if (m && m->kind <= MappingKind::stack && m->protection != PROT_NONE) pages.insert(page);
    return m && (m->kind <= MappingKind::stack || m->kind == MappingKind::file);
  };
  constexpr uint64_t kRedZone = 128;  // x86-64 ABI: used below the stack pointer
  for (ThreadImage& t : p.threads) {
    // Without what it looks at, a wait cannot be taken up before the pages come.
    constexpr uint64_t kMost = 64 * kPage;
    const Range seen = t.wait_end ? memory_of_wait(t) : Range{};
    bool there = seen.end < kUserEnd && seen.size() <= kMost;
    for (uint64_t at = seen.start & ~(kPage - 1); there && at < seen.end; at += kPage)
      there = add(at);
    if (!there) t.wait_end = 0;
    for (uint64_t near : {t.registers.rsp - kRedZone, t.registers.rsp, t.registers.rsp + kPage,
                          t.registers.rip, t.registers.fs_base})
      add(near);
    if (t.rseq.pointer) add(t.rseq.pointer);
    if (t.robust_list) add(t.robust_list);
  }
  // /proc/PID/cmdline and environ read these without waiting for pages: ps(1) would show nothing.
  constexpr uint64_t kShown = 16 * kPage;
  const uint64_t start = p.memory_map.arg_start, end = p.memory_map.env_end;
  for (uint64_t at = start; at < std::min(end, start + kShown); at += kPage) add(at);
}

// userfaultfd cannot hold back private file pages, so their changed copies travel in the image.
Result<void> add_changed_file_pages(ProcessCapture& c, std::set<uint64_t>& pages) {
  PageMap map = TRY(PageMap::open(c.process.pid));
  std::vector<Range> changed;
  Range span;  // neighbours are scanned by one call
  for (const MappingImage& m : c.out.mappings) {
    if (m.kind < MappingKind::file || m.kind > MappingKind::huge || m.shared) continue;
    if (m.range.start != span.end) {
      TRY(map.scan(span, changed));
      span.start = m.range.start;
    }
    span.end = m.range.end;
  }
  TRY(map.scan(span, changed));
  for (Range r : changed)
    for (uint64_t page = r.start; page < r.end; page += kPage) pages.insert(page);
  return {};
}

Result<void> read_pages(ProcessCapture& c, const std::set<uint64_t>& pages) {
  c.out.pages.assign(pages.begin(), pages.end());
  const std::span<std::byte> bytes = c.arena.take(pages.size() * kPage);
  constexpr size_t kMaxPieces = 1024;  // IOV_MAX
  for (size_t done = 0; done < c.out.pages.size();) {
    iovec remote[kMaxPieces];
    const size_t n = std::min(kMaxPieces, c.out.pages.size() - done);
    for (size_t i = 0; i < n; i++)
      remote[i] = {reinterpret_cast<void*>(c.out.pages[done + i]), kPage};
    iovec local{bytes.data() + done * kPage, n * kPage};
    const ssize_t got = ::process_vm_readv(c.process.pid.value, &local, 1, remote, n, 0);
    if (got <= 0)
      return Error::sys("read the pages of", c.process.name(), got < 0 ? errno : EFAULT);
    done += static_cast<size_t>(got) / kPage;
  }
  c.out.page_bytes = bytes;
  return {};
}

Result<void> capture(ProcessCapture& c) {
  TRY(capture_mappings(c));
  TRY(capture_notes(c));
  std::set<uint64_t> pages;
  TRY(add_changed_file_pages(c, pages));
  add_hot_pages(c.out, pages);
  return read_pages(c, pages);
}

bool written_through(const ProcessImage& p, size_t file) {
  return std::any_of(p.mappings.begin(), p.mappings.end(), [&](const MappingImage& m) {
    return m.kind == MappingKind::file && m.file == file && m.shared;
  });
}

Result<void> adopt(Adoption& a) {
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

Result<void> rebuild(Rebuild& r) {
  clear_address_space(r);
  for (const MappingImage& m : r.process.mappings) {
    if (m.kind >= MappingKind::vdso) continue;  // part_vdso.cc, part_segments.cc
    uint64_t flags = MAP_FIXED_NOREPLACE | (m.shared ? MAP_SHARED : MAP_PRIVATE);
    uint64_t fd = ~0ull;
    if (m.kind == MappingKind::file)
      fd = static_cast<uint64_t>(r.mapped_files) + m.file;
    else if (m.kind == MappingKind::object)
      fd = static_cast<uint64_t>(r.objects) + m.file;
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
  kernel::MemoryMap map = r.process.memory_map;
  map.auxv = r.workspace.put_bytes(r.process.auxv).value;
  map.auxv_size = static_cast<uint32_t>(r.process.auxv.size());
  map.exe_fd = static_cast<uint32_t>(r.process.executable_is_object ? r.objects : r.mapped_files) +
               r.process.executable;
  r.space.must("set the memory map", SYS_prctl,
               {kernel::kPrSetMm, kernel::kPrSetMmMap, r.workspace.put(map).value, sizeof map, 0});
  return {};
}

}  // namespace

const Part kMemory = {"memory", check, capture, adopt, rebuild};

}  // namespace hob::migrate
