#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

/// What a program can use of a processor, and what must be found again where it goes on.
namespace hob::migrate {

/// Names of features, sorted, without repetition; as /proc/cpuinfo writes them.
using CpuFeatures = std::vector<std::string>;

/// What programs can use here: instructions that are not there on every x86-64, those of them left
/// out whose registers the kernel does not keep (XCR0), and those that are mere hints (prefetch,
/// erms): a processor without them runs the same code. From CPUID, as programs ask themselves.
///
/// HOB_CPU_WITHOUT="avx2 bmi2" in the environment hides features: tests put unlike hosts on one
/// machine.
const CpuFeatures& cpu_features();

/// One line, separated by spaces: the form in which hosts tell them. What comes from elsewhere may
/// hold names that we do not know; they count like any other.
std::string join(const CpuFeatures& features);
CpuFeatures features_of(std::string_view text);

/// Those of `used` that `there` lacks.
CpuFeatures lacking(const CpuFeatures& used, const CpuFeatures& there);

/// The state that threads keep in the xsave area, and where. The standard format of XSAVE leaves
/// the place of each component to the processor (Intel SDM volume 1, 13.4.3); frames of signal
/// handlers on the program's own stacks hold it too, so it cannot be converted on the way.
struct StateLayout {
  struct Component {
    uint8_t number = 0;
    uint32_t offset = 0, size = 0;
    bool operator==(const Component&) const = default;
  };
  uint32_t size = 0;                  ///< bytes of a whole area, dynamic components included
  std::vector<Component> components;  ///< from 2 on, ascending
};
StateLayout state_layout();
/// Components that a program has only after it has asked for them (arch_prctl(2),
/// ARCH_REQ_XCOMP_PERM): a set of bits as in XCR0.
inline constexpr uint64_t kDynamicComponents = 1ull << 18;

/// Why a process with the state of `source` could not go on with that of `here`; empty if it can.
/// More is no obstacle. Dynamic components are the process's own matter (ProcessImage::permitted).
std::string difference(const StateLayout& source, const StateLayout& here);

/// The value of GLIBC_TUNABLES that makes glibc do without `withheld`, added to the value that the
/// user has set (empty: none). glibc chooses its string functions and library directories by
/// features at the start of a program; who asks the processor himself is not held back by this.
/// Features that glibc has no name for are left out.
std::string glibc_tunables(const CpuFeatures& withheld, std::string_view users_own);

}  // namespace hob::migrate
