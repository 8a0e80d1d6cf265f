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
#include <span>

#include "migrate/draft.h"
#include "migrate/files.h"
#include "migrate/huge_pages.h"
#include "migrate/ipc.h"
#include "migrate/memory_rebuild.h"
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
Result<std::vector<proc::Mapping>> mappings_of(Tid process, const std::string& text) {
  auto maps = TRY(proc::parse_maps(text));
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
  const auto text = proc::read(i.pid, "maps");
  if (!text || text->empty()) return;  // has just ended
  auto maps = mappings_of(i.pid, *text);
  if (!maps) return;
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

// The files were looked at for the draft, and the target has opened them since. None is to be
// flushed: sketch() has seen to it. A vdso that has come along is cut out anew (part_vdso.cc).
bool same_as_drafted(const ProcessCapture& c) {
  return c.draft && c.draft->vdso == 0 && *c.drafted_maps == c.maps;
}

Result<void> capture_mappings(ProcessCapture& c) {
  if (same_as_drafted(c)) {
    c.out.mappings = c.draft->mappings;
    c.out.files = c.draft->files;
    c.out.executable = c.draft->executable;
    return {};
  }
  std::map<ino_t, uint32_t> known;
  Classifier classify(c.process.pid);
  const auto maps = TRY(mappings_of(c.process.pid, c.maps));
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

// No interface tells of mlockall(2) with MCL_FUTURE. But our scratch memory has just been mapped:
// if it is locked, all new memory is; and where its last pages are there, untouched, all new pages
// are. Who has locked nothing at all is not looked at: that future has never come.
Result<void> capture_future_locks(ProcessCapture& c) {
  const uint64_t before = c.process.status.locked, size = c.workspace.size();
  if (before == 0) return {};
  if (TRY(proc::status(c.process.pid)).locked < before + size) return {};
  const uint64_t end = c.workspace.remote().value + size;
  std::vector<Range> there;
  TRY(TRY(PageMap::open(c.process.pid)).scan({end - kPage, end}, there));
  c.out.lock_future = there.empty() ? LockFuture::on_fault : LockFuture::at_once;
  return {};
}

// What PR_SET_MM_MAP keeps.
Result<void> capture_notes(ProcessCapture& c) {
  const proc::Stat& s = c.process.stat;
  c.out.memory_map = {
      s.start_code, s.end_code, s.start_data, s.end_data, s.start_brk, 0, s.start_stack,
      s.arg_start,  s.arg_end,  s.env_start,  s.env_end,  0,           0, 0};
  TRY(vdso_of(c.process));
  const std::string& auxv = c.process.auxv;
  const auto* bytes = reinterpret_cast<const std::byte*>(auxv.data());
  c.out.auxv.assign(bytes, bytes + auxv.size());
  return {};
}

// The pages that the kernel or the first instructions touch, and those that the program was seen to
// work with.
void add_hot_pages(ProcessImage& p, std::span<const uint64_t> touched, RemoteAddress vdso,
                   std::set<uint64_t>& pages) {
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
  constexpr int kFew = 8;
  int waiting = 0;
  for (ThreadImage& t : p.threads) {
    // Without what it looks at, a wait cannot be taken up before the pages come.
    constexpr uint64_t kMost = 64 * kPage;
    const Range seen = t.wait_end ? memory_of_wait(t) : Range{};
    bool there = seen.end < kUserEnd && seen.size() <= kMost;
    for (uint64_t at = seen.start & ~(kPage - 1); there && at < seen.end; at += kPage)
      there = add(at);
    if (!there) t.wait_end = 0;
    add(t.registers.fs_base);
    // Of many threads that wait few go on at once.
    const bool waits = static_cast<int64_t>(t.registers.orig_rax) >= 0;
    if (!waits || ++waiting <= kFew)
      for (uint64_t near :
           {t.registers.rsp - kRedZone, t.registers.rsp, t.registers.rsp + kPage, t.registers.rip})
        add(near);
    if (t.rseq.pointer) add(t.rseq.pointer);
    if (t.robust_list) add(t.robust_list);
  }
  constexpr size_t kMostTouched = 64;  // 0.1 ms; more are worth less than they cost
  size_t added = 0;
  for (uint64_t page : touched) {
    if (added == kMostTouched) break;
    // Another kernel's stands in ordinary memory (part_vdso.cc), and does not travel as such.
    if (const MappingImage* m = find(page); m && m->range.contains(vdso.value)) continue;
    if (const size_t before = pages.size(); add(page) && pages.size() > before) added++;
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

// What the target has already need not travel again.
void leave_out_drafted(ProcessCapture& c, std::span<std::byte> bytes) {
  const DraftedPages drafted(*c.draft, c.out);
  size_t kept = 0;
  for (size_t i = 0; i < c.out.pages.size(); i++) {
    std::byte* page = bytes.data() + i * kPage;
    if (drafted.has(c.out.pages[i], page)) continue;
    c.out.pages[kept] = c.out.pages[i];
    if (kept != i) std::memcpy(bytes.data() + kept * kPage, page, kPage);
    kept++;
  }
  c.out.pages.resize(kept);
  c.out.page_bytes = bytes.first(kept * kPage);
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
    if (got > 0) {
      done += static_cast<size_t>(got) / kPage;
      continue;
    }
    if (errno != EFAULT) return Error::sys("read the pages of", c.process.name());
    // One that the program itself may not read now.
    TRY(proc::read_memory(c.process.pid, {c.out.pages[done]}, bytes.data() + done * kPage, kPage));
    done++;
  }
  c.out.page_bytes = bytes;
  if (c.draft) leave_out_drafted(c, bytes);
  return {};
}

Result<void> capture(ProcessCapture& c) {
  TRY(capture_mappings(c));
  TRY(capture_notes(c));
  TRY(capture_future_locks(c));
  c.leader.then(SYS_brk, {0}, [&c](int64_t result) -> Result<void> {
    c.out.memory_map.brk = static_cast<uint64_t>(result);
    return {};
  });
  std::set<uint64_t> pages;
  TRY(add_changed_file_pages(c, pages));
  // One that has gone back to what is in the file would stay as it was in the draft.
  if (c.draft) {
    const DraftedPages drafted(*c.draft, c.out);
    pages.insert(drafted.all().begin(), drafted.all().end());
  }
  add_hot_pages(c.out, c.touched, TRY(vdso_of(c.process)), pages);
  return read_pages(c, pages);
}

Result<void> sketch(ProcessCapture& c) {
  TRY(capture_mappings(c));
  for (const MappingImage& m : c.out.mappings)
    if (!can_be_drafted(m.kind) ||
        (m.kind == MappingKind::file && m.shared && m.protection & PROT_WRITE &&
         TRY(is_remote(proc::path(c.process.pid, "root") + c.out.files[m.file].path))))
      return Error{"a mapping that must be made at the freeze", ENOTSUP};
  TRY(capture_notes(c));
  c.out.memory_map.brk = c.out.memory_map.start_brk;
  std::set<uint64_t> pages;
  TRY(add_changed_file_pages(c, pages));
  return read_pages(c, pages);
}

}  // namespace

const Part kMemory = {"memory", check, capture, adopt_memory, rebuild_memory, sketch, build_memory};

}  // namespace hob::migrate
