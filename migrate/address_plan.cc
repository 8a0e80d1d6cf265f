#include "migrate/address_plan.h"

#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>

#include "migrate/fault.h"
#include "migrate/proc.h"
#include "migrate/restore.h"

namespace hob::migrate {

std::optional<uint64_t> find_hole(std::vector<Range> used, uint64_t size, uint64_t margin) {
  constexpr uint64_t kLowest = 1 << 20;
  std::erase_if(used, [](const Range& r) { return r.start >= kUserEnd; });  // [vsyscall]
  for (Range& r : used) {
    r.start = r.start > margin ? r.start - margin : 0;
    r.end += margin;
  }
  std::sort(used.begin(), used.end(),
            [](const Range& a, const Range& b) { return a.start > b.start; });
  uint64_t top = kUserEnd;
  for (const Range& r : used) {
    if (r.end <= top && top - r.end >= size) return (top - size) & ~(kPage - 1);
    top = std::min(top, r.start);
  }
  if (top >= kLowest + size) return (top - size) & ~(kPage - 1);
  return std::nullopt;
}

static Result<Rebuild::Vdso> find_vdso(const std::vector<proc::Mapping>& maps) {
  Rebuild::Vdso vdso;
  for (const proc::Mapping& m : maps) {
    if (m.name == "[vvar]") vdso.vvar = m.range;
    if (m.name == "[vvar_vclock]") vdso.vvar_clock = m.range;
    if (m.name == "[vdso]") vdso.code = m.range;
  }
  if (vdso.code.empty() || vdso.vvar.empty())
    return Error{"look at the vdso: this kernel has none", EOPNOTSUPP};
  return vdso;
}

Result<AddressPlan> plan_addresses(const std::vector<proc::Mapping>& maps,
                                   const ProcessImage& image, size_t workspace) {
  std::vector<Range> used;
  for (const proc::Mapping& m : maps) used.push_back(m.range);
  for (const MappingImage& m : image.mappings) used.push_back(m.range);
  constexpr uint64_t kSpare = 1 << 20;
  // Wide, because the stub still allocates memory, and stacks grow.
  constexpr uint64_t kMargin = 256u << 20;
  const auto hole = find_hole(used, workspace + kSpare, kMargin);
  if (!hole)
    return Error{"restore process " + std::to_string(image.pid) + ": its address space is full",
                 ENOMEM};
  AddressPlan plan;
  plan.workspace = {*hole};
  plan.spare = {*hole + workspace, *hole + workspace + kSpare};
  plan.vdso = TRY(find_vdso(maps));
  return plan;
}

Result<Platform> this_platform() {
  Platform platform;
  const auto vdso = TRY(find_vdso(TRY(proc::maps(Tid{::getpid()}))));
  const auto* code = reinterpret_cast<const std::byte*>(vdso.code.start);
  platform.vdso.assign(code, code + vdso.code.size());
  if (fault::armed == Fault::other_kernel) platform.vdso.back() ^= std::byte{1};
  platform.state = state_layout();
  platform.features = join(cpu_features());
  return platform;
}

std::string difference(const Platform& source, const Platform& here) {
  // Who has not asked for tiles cannot have used them; who has is known at the capture.
  CpuFeatures used = features_of(source.features);
  std::erase_if(used, [](const std::string& name) { return name.starts_with("amx_"); });
  const CpuFeatures missing = lacking(used, features_of(here.features));
  if (!missing.empty())
    return "its processor lacks what programs may have used on the source's: " + join(missing) +
           "; the job can only go on where there is all of it";
  return difference(source.state, here.state);
}

}  // namespace hob::migrate
