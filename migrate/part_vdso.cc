#include <sys/mman.h>
#include <sys/syscall.h>

#include <algorithm>

#include "migrate/parts.h"
#include "migrate/vdso.h"

/// The vdso: at its old place if it is the same, else as a copy that leads to this kernel's own
/// (vdso.h).
namespace hob::migrate {

Result<RemoteAddress> vdso_of(Tid process, const std::string& name) {
  const std::string auxv = TRY(proc::read(process, "auxv"));
  const auto address = vdso_address(std::as_bytes(std::span(auxv)));
  if (!address) return obstacle(name, "it has no vdso");
  return *address;
}

Result<RemoteAddress> vdso_of(CaptiveProcess& process) {
  if (process.auxv.empty()) process.auxv = TRY(proc::read(process.pid, "auxv"));
  const auto address = vdso_address(std::as_bytes(std::span(process.auxv)));
  if (!address) return obstacle(process.name(), "it has no vdso");
  return *address;
}

Result<void> step_out_of_vdso(CaptiveProcess& process, const Platform& platform, bool leaves) {
  const RemoteAddress address = TRY(vdso_of(process));
  Bytes there(platform.vdso.size());
  const bool whole = proc::read_memory(process.pid, address, there.data(), there.size()).ok();
  const bool copied = !whole || there != platform.vdso;
  if (!leaves && !copied) return {};
  std::vector<Range> inside = {{address.value, address.value + there.size()}};
  if (copied)
    for (const proc::Mapping& m : TRY(proc::maps(process.pid)))
      if (m.name == "[vdso]") inside.push_back(m.range);
  for (CaptiveThread& thread : process.threads) {
    const auto is_inside = [&] {
      return std::any_of(inside.begin(), inside.end(),
                         [&](const Range& r) { return r.contains(thread.registers.rip); });
    };
    // A clock takes 200 instructions, more if the kernel is just changing it.
    constexpr int kMost = 100'000;
    for (int steps = 0; is_inside(); steps++) {
      if (steps == kMost) return obstacle(process.name(), "a thread of it does not leave the vdso");
      TRY(thread.tracee.step());
      for (Stop stop = TRY(thread.tracee.wait()); stop.event != 0 || stop.signal != SIGTRAP;
           stop = TRY(thread.tracee.wait())) {
        if (stop.event == 0)
          return Error{"let " + process.name() + " leave the vdso: it got signal " +
                           std::to_string(stop.signal),
                       EINTR};
        TRY(thread.tracee.step());
      }
      thread.registers = TRY(thread.tracee.registers());
    }
  }
  return {};
}

namespace {

uint32_t index_of(Image& image, Bytes vdso) {
  const auto at = std::find(image.vdsos.begin(), image.vdsos.end(), vdso);
  const auto index = static_cast<uint32_t>(at - image.vdsos.begin());
  if (at == image.vdsos.end()) image.vdsos.push_back(std::move(vdso));
  return index;
}

// Cuts the copy out of the anonymous memory that it is here, and leaves out this kernel's own.
Result<void> capture(ProcessCapture& c) {
  const RemoteAddress address = TRY(vdso_of(c.process));
  std::vector<MappingImage>& all = c.out.mappings;
  if (std::any_of(all.begin(), all.end(), [&](const MappingImage& m) {
        return m.kind == MappingKind::vdso && m.range.start == address.value;
      }))
    return {};
  Bytes copy = TRY(read_vdso(c.process.pid, address));
  const Range range = {address.value, address.value + copy.size()};
  std::vector<MappingImage> rest;
  for (MappingImage& m : all) {
    if (m.kind >= MappingKind::vdso && m.kind <= MappingKind::vvar_clock) continue;
    if (!m.range.overlaps(range)) {
      rest.push_back(m);
      continue;
    }
    if (m.kind != MappingKind::anonymous || m.range.start > range.start || m.range.end < range.end)
      return obstacle(c.process.name(), "something else is where its vdso was");
    MappingImage part = m;
    part.range = {m.range.start, range.start};
    if (!part.range.empty()) rest.push_back(part);
    part.range = range;
    part.kind = MappingKind::vdso;
    rest.push_back(part);
    part = m;
    part.range = {range.end, m.range.end};
    if (!part.range.empty()) rest.push_back(part);
  }
  all = std::move(rest);
  c.out.vdso = index_of(c.image, std::move(copy));
  return {};
}

uint64_t distance(const Range& own, const Rebuild::Vdso& v) {
  return own.start - v.code.start;
}

// Everything of the kernel's own can stand where the program had the same.
bool fits(const Rebuild& r, uint64_t place) {
  const Bytes& old = r.image.vdsos[r.process.vdso];
  if (!std::equal(old.begin(), old.end(), r.own_vdso.begin(), r.own_vdso.end())) return false;
  const auto same_at = [&](MappingKind kind, const Range& own) {
    const auto m = std::find_if(r.process.mappings.begin(), r.process.mappings.end(),
                                [&](const MappingImage& x) { return x.kind == kind; });
    if (m == r.process.mappings.end()) return own.empty();
    return m->range.size() == own.size() && m->range.start - place == distance(own, r.vdso);
  };
  return same_at(MappingKind::vdso, r.vdso.code) && same_at(MappingKind::vvar, r.vdso.vvar) &&
         same_at(MappingKind::vvar_clock, r.vdso.vvar_clock);
}

// It stands aside already (part_memory.cc has moved it there).
Result<void> place(Rebuild& r) {
  const auto code = std::find_if(r.process.mappings.begin(), r.process.mappings.end(),
                                 [](const auto& m) { return m.kind == MappingKind::vdso; });
  CHECK(code != r.process.mappings.end());
  const uint64_t place = code->range.start;
  const uint64_t aside = r.spare.start + (r.vdso.code.start - r.vdso.low());
  if (fits(r, place)) {
    r.vdso_at = {place};
    for (const Range& own : {r.vdso.vvar, r.vdso.vvar_clock, r.vdso.code})
      if (!own.empty())
        r.space.must("place the vdso", SYS_mremap,
                     {aside + distance(own, r.vdso), own.size(), own.size(),
                      MREMAP_MAYMOVE | MREMAP_FIXED, place + distance(own, r.vdso)});
    return {};
  }
  r.vdso_at = {aside};
  r.copy_at = {place};
  r.vdso_copy = TRY(redirect_vdso(r.image.vdsos[r.process.vdso], r.own_vdso, r.vdso_at));
  r.space.must("place a copy of the old vdso", SYS_mmap,
               {place, code->range.size(), PROT_READ | PROT_EXEC,
                MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, ~0ull, 0});
  return {};
}

Result<void> rebuild(Rebuild& r) {
  return r.drafted ? Result<void>() : place(r);
}

}  // namespace

const Part kVdso = {"vdso", nullptr, capture, nullptr, rebuild, capture, place};

}  // namespace hob::migrate
