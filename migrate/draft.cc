#include "migrate/draft.h"

#include <algorithm>
#include <cstring>

namespace hob::migrate {
namespace {

bool same(const ProcessImage& draft, const MappingImage& a, const ProcessImage& now,
          const MappingImage& b) {
  if (a.range.start != b.range.start || a.range.end != b.range.end || a.kind != b.kind ||
      a.protection != b.protection || a.shared != b.shared || a.advice != b.advice ||
      a.offset != b.offset || !can_be_drafted(a.kind))
    return false;
  return a.kind != MappingKind::file || draft.files[a.file] == now.files[b.file];
}

bool is_own_code(MappingKind kind) {
  return kind >= MappingKind::vdso && kind <= MappingKind::vvar_clock;
}

std::optional<std::string> difference(const Image& draft, const ProcessImage& d, const Image& image,
                                      const ProcessImage& p) {
  const std::string subject = "process " + std::to_string(p.pid);
  if (d.pid != p.pid || d.threads.front().tid != p.threads.front().tid) return "another process";
  // Under the filter no thread can be made (seccomp_compile.cc).
  const auto by_tid = [](const ThreadImage& t) { return t.tid; };
  if (!std::ranges::is_permutation(d.threads, p.threads, {}, by_tid, by_tid))
    return subject + ": a thread has come or gone";
  // Stopped again by calls of its own, while it still is alone (job_control.h).
  if (p.stop_signal != 0 || p.untold != Untold::nothing) return subject + ": job control";
  if (d.personality != p.personality) return subject + ": another personality";
  if (d.directory != p.directory || d.umask != p.umask) return subject + ": another directory";
  if (d.descriptors != p.descriptors) return subject + ": other descriptors";
  if (draft.vdsos[d.vdso] != image.vdsos[p.vdso]) return subject + ": another vdso";
  if (p.executable_is_object || d.executable_is_object ||
      p.files[p.executable] != d.files[d.executable])
    return subject + ": another program";
  const KeptMappings kept = kept_mappings(d, p);
  for (size_t i = 0; i < d.mappings.size(); i++)
    if (!kept.drafted[i] && is_own_code(d.mappings[i].kind)) return subject + ": another vdso";
  for (size_t i = 0; i < p.mappings.size(); i++) {
    if (kept.now[i]) continue;
    const MappingImage& m = p.mappings[i];
    if (!can_be_drafted(m.kind) || is_own_code(m.kind))
      return subject + ": a mapping of a new kind";
    if (m.kind == MappingKind::file && drafted_file(d, p.files[m.file]) < 0)
      return subject + ": another file is mapped";
  }
  return std::nullopt;
}

}  // namespace

KeptMappings kept_mappings(const ProcessImage& draft, const ProcessImage& now) {
  KeptMappings kept{std::vector<bool>(draft.mappings.size()),
                    std::vector<bool>(now.mappings.size())};
  size_t d = 0;
  for (size_t i = 0; i < now.mappings.size(); i++) {
    const MappingImage& m = now.mappings[i];
    while (d < draft.mappings.size() && draft.mappings[d].range.start < m.range.start) d++;
    if (d == draft.mappings.size()) break;
    kept.drafted[d] = kept.now[i] = same(draft, draft.mappings[d], now, m);
  }
  return kept;
}

bool can_be_drafted(MappingKind kind) {
  return kind <= MappingKind::file || is_own_code(kind);
}

bool can_be_drafted(DescriptionKind kind) {
  switch (kind) {
    case DescriptionKind::regular:
    case DescriptionKind::directory:
    case DescriptionKind::device:
    case DescriptionKind::external:
    case DescriptionKind::terminal:
    case DescriptionKind::name:
    case DescriptionKind::pipe_read:
    case DescriptionKind::pipe_write:
    case DescriptionKind::pipe_both:
    case DescriptionKind::eventfd:
    case DescriptionKind::signalfd:
    case DescriptionKind::epoll:
      return true;
    default:
      return false;
  }
}

Description as_drafted(Description d) {
  if (d.kind == DescriptionKind::regular || d.kind == DescriptionKind::directory) d.position = 0;
  if (d.kind == DescriptionKind::eventfd) d.value = 0;
  return d;
}

std::optional<std::string> difference(const Image& draft, const Image& now) {
  if (draft.tree != now.tree || draft.processes.size() != now.processes.size())
    return "another tree";
  if (draft.terminal != now.terminal) return "another terminal";
  const IpcImage& ipc = now.ipc;
  if (!now.objects.empty() || !now.sockets.empty() || !now.inet_sockets.empty() ||
      !now.ptys.empty() || !ipc.segments.empty() || !ipc.semaphores.empty() ||
      !ipc.queues.empty() || !ipc.files.empty())
    return "something shared that a draft cannot have";
  if (draft.descriptions.size() != now.descriptions.size() ||
      draft.pipes.size() != now.pipes.size())
    return "other files are open";
  for (size_t i = 0; i < now.descriptions.size(); i++)
    if (as_drafted(draft.descriptions[i]) != as_drafted(now.descriptions[i]))
      return "another file is open";
  for (size_t i = 0; i < now.pipes.size(); i++)
    if (draft.pipes[i].capacity != now.pipes[i].capacity || !now.pipes[i].path.empty())
      return "another pipe";
  for (size_t i = 0; i < now.processes.size(); i++)
    if (auto why = difference(draft, draft.processes[i], now, now.processes[i])) return why;
  return std::nullopt;
}

int drafted_file(const ProcessImage& draft, const FileImage& file) {
  const auto at = std::find(draft.files.begin(), draft.files.end(), file);
  return at == draft.files.end() ? -1 : static_cast<int>(at - draft.files.begin());
}

DraftedPages::DraftedPages(const ProcessImage& draft, const ProcessImage& now) : draft_(draft) {
  const KeptMappings kept = kept_mappings(draft, now);
  size_t m = 0;
  for (size_t i = 0; i < draft.pages.size(); i++) {
    while (draft.mappings[m].range.end <= draft.pages[i]) m++;  // each page is in one
    if (!kept.drafted[m]) continue;
    pages_.push_back(draft.pages[i]);
    places_.push_back(i);
  }
}

bool DraftedPages::has(uint64_t page, const std::byte* bytes) const {
  const auto at = std::lower_bound(pages_.begin(), pages_.end(), page);
  if (at == pages_.end() || *at != page) return false;
  const size_t place = places_[static_cast<size_t>(at - pages_.begin())];
  return std::memcmp(draft_.page_bytes.data() + place * kPage, bytes, kPage) == 0;
}

void put_back_pages(Image& now, const Image& draft, std::vector<Bytes>& storage) {
  for (ProcessImage& p : now.processes) {
    const auto d = std::find_if(draft.processes.begin(), draft.processes.end(),
                                [&](const ProcessImage& x) { return x.pid == p.pid; });
    if (d == draft.processes.end()) continue;
    const DraftedPages drafted(*d, p);
    std::vector<uint64_t> pages;
    Bytes& bytes = storage.emplace_back();
    const auto add = [&](const ProcessImage& from, size_t place) {
      pages.push_back(from.pages[place]);
      const auto page = from.page_bytes.subspan(place * kPage, kPage);
      bytes.insert(bytes.end(), page.begin(), page.end());
    };
    size_t next = 0;
    for (const uint64_t page : drafted.all()) {
      for (; next < p.pages.size() && p.pages[next] < page; next++) add(p, next);
      if (next < p.pages.size() && p.pages[next] == page) continue;  // changed since
      add(*d, static_cast<size_t>(std::lower_bound(d->pages.begin(), d->pages.end(), page) -
                                  d->pages.begin()));
    }
    for (; next < p.pages.size(); next++) add(p, next);
    p.pages = std::move(pages);
    p.page_bytes = bytes;
  }
}

}  // namespace hob::migrate
