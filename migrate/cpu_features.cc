#include "migrate/cpu_features.h"

#include <algorithm>
#include <cstdlib>
#include <iterator>
#include <sstream>

namespace hob::migrate {
namespace {

struct Registers {
  uint32_t eax = 0, ebx = 0, ecx = 0, edx = 0;
};

Registers cpuid(uint32_t leaf, uint32_t subleaf = 0) {
  Registers r;
  __asm__("cpuid" : "=a"(r.eax), "=b"(r.ebx), "=c"(r.ecx), "=d"(r.edx) : "a"(leaf), "c"(subleaf));
  return r;
}

constexpr uint32_t kOsxsave = 1u << 27;  // leaf 1, ecx: the kernel has turned XSAVE on
constexpr uint32_t kStateLeaf = 0xd;

/// XCR0: what of the state the kernel keeps. Without XSAVE the instruction does not exist.
uint64_t kept_state() {
  constexpr uint64_t kX87AndSse = 3;
  if (!(cpuid(1).ecx & kOsxsave)) return kX87AndSse;
  uint32_t low = 0, high = 0;
  __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return low | static_cast<uint64_t>(high) << 32;
}

/// Bits of XCR0 without which the instructions of a feature fault.
constexpr uint64_t kAvx = 0x6, kAvx512 = 0xe6, kTiles = 0x60000, kKeys = 0x200;

struct Feature {
  const char* name;   ///< /proc/cpuinfo's
  const char* glibc;  ///< in glibc.cpu.hwcaps (glibc 2.36, sysdeps/x86/cpu-tunables.c), or none
  uint32_t leaf, subleaf;
  uint32_t Registers::*where;
  uint8_t bit;
  uint64_t needs = 0;
};

constexpr auto a = &Registers::eax, b = &Registers::ebx, c = &Registers::ecx, d = &Registers::edx;
constexpr const char* kNone = nullptr;

/// Intel SDM volume 2, CPUID; AMD APM volume 3, appendix E. Some of these do not fault where they
/// are missing, but do something else (lzcnt, bmi1's tzcnt): as bad.
constexpr Feature kFeatures[] = {
    {"pni", kNone, 1, 0, c, 0},
    {"pclmulqdq", kNone, 1, 0, c, 1},
    {"ssse3", "SSSE3", 1, 0, c, 9},
    {"fma", "FMA", 1, 0, c, 12, kAvx},
    {"cx16", kNone, 1, 0, c, 13},
    {"sse4_1", "SSE4_1", 1, 0, c, 19},
    {"sse4_2", "SSE4_2", 1, 0, c, 20},
    {"movbe", "MOVBE", 1, 0, c, 22},
    {"popcnt", "POPCNT", 1, 0, c, 23},
    {"aes", kNone, 1, 0, c, 25},
    {"xsave", kNone, 1, 0, c, 27},
    {"avx", "AVX", 1, 0, c, 28, kAvx},
    {"f16c", kNone, 1, 0, c, 29, kAvx},
    {"rdrand", kNone, 1, 0, c, 30},
    {"bmi1", "BMI1", 7, 0, b, 3},
    {"avx2", "AVX2", 7, 0, b, 5, kAvx},
    {"bmi2", "BMI2", 7, 0, b, 8},
    {"rtm", "RTM", 7, 0, b, 11},
    {"avx512f", "AVX512F", 7, 0, b, 16, kAvx512},
    {"avx512dq", "AVX512DQ", 7, 0, b, 17, kAvx512},
    {"rdseed", kNone, 7, 0, b, 18},
    {"adx", kNone, 7, 0, b, 19},
    {"avx512ifma", kNone, 7, 0, b, 21, kAvx512},
    {"clflushopt", kNone, 7, 0, b, 23},
    {"clwb", kNone, 7, 0, b, 24},
    {"avx512pf", "AVX512PF", 7, 0, b, 26, kAvx512},
    {"avx512er", "AVX512ER", 7, 0, b, 27, kAvx512},
    {"avx512cd", "AVX512CD", 7, 0, b, 28, kAvx512},
    {"sha_ni", kNone, 7, 0, b, 29},
    {"avx512bw", "AVX512BW", 7, 0, b, 30, kAvx512},
    {"avx512vl", "AVX512VL", 7, 0, b, 31, kAvx512},
    {"avx512vbmi", kNone, 7, 0, c, 1, kAvx512},
    {"ospke", kNone, 7, 0, c, 4, kKeys},
    {"waitpkg", kNone, 7, 0, c, 5},
    {"avx512_vbmi2", kNone, 7, 0, c, 6, kAvx512},
    {"gfni", kNone, 7, 0, c, 8},
    {"vaes", kNone, 7, 0, c, 9, kAvx},
    {"vpclmulqdq", kNone, 7, 0, c, 10, kAvx},
    {"avx512_vnni", kNone, 7, 0, c, 11, kAvx512},
    {"avx512_bitalg", kNone, 7, 0, c, 12, kAvx512},
    {"avx512_vpopcntdq", kNone, 7, 0, c, 14, kAvx512},
    {"rdpid", kNone, 7, 0, c, 22},
    {"movdiri", kNone, 7, 0, c, 27},
    {"movdir64b", kNone, 7, 0, c, 28},
    {"avx512_4vnniw", kNone, 7, 0, d, 2, kAvx512},
    {"avx512_4fmaps", kNone, 7, 0, d, 3, kAvx512},
    {"uintr", kNone, 7, 0, d, 5},
    {"avx512_vp2intersect", kNone, 7, 0, d, 8, kAvx512},
    {"serialize", kNone, 7, 0, d, 14},
    {"tsxldtrk", kNone, 7, 0, d, 16},
    {"amx_bf16", kNone, 7, 0, d, 22, kTiles},
    {"avx512_fp16", kNone, 7, 0, d, 23, kAvx512},
    {"amx_tile", kNone, 7, 0, d, 24, kTiles},
    {"amx_int8", kNone, 7, 0, d, 25, kTiles},
    {"sha512", kNone, 7, 1, a, 0, kAvx},
    {"sm3", kNone, 7, 1, a, 1, kAvx},
    {"sm4", kNone, 7, 1, a, 2, kAvx},
    {"avx_vnni", kNone, 7, 1, a, 4, kAvx},
    {"avx512_bf16", kNone, 7, 1, a, 5, kAvx512},
    {"cmpccxadd", kNone, 7, 1, a, 7},
    {"amx_fp16", kNone, 7, 1, a, 21, kTiles},
    {"avx_ifma", kNone, 7, 1, a, 23, kAvx},
    {"avx_vnni_int8", kNone, 7, 1, d, 4, kAvx},
    {"avx_ne_convert", kNone, 7, 1, d, 5, kAvx},
    {"amx_complex", kNone, 7, 1, d, 8, kTiles},
    {"avx_vnni_int16", kNone, 7, 1, d, 10, kAvx},
    {"avx10", kNone, 7, 1, d, 19, kAvx512},
    {"apx", kNone, 7, 1, d, 21, 1u << 19},
    {"xsaveopt", kNone, kStateLeaf, 1, a, 0},
    {"xsavec", "XSAVEC", kStateLeaf, 1, a, 1},
    {"xgetbv1", kNone, kStateLeaf, 1, a, 2},
    {"lahf_lm", kNone, 0x80000001, 0, c, 0},
    {"abm", "LZCNT", 0x80000001, 0, c, 5},
    {"sse4a", kNone, 0x80000001, 0, c, 6},
    {"xop", "XOP", 0x80000001, 0, c, 11, kAvx},
    {"fma4", "FMA4", 0x80000001, 0, c, 16, kAvx},
    {"tbm", kNone, 0x80000001, 0, c, 21},
    {"mmxext", kNone, 0x80000001, 0, d, 22},
    {"rdtscp", kNone, 0x80000001, 0, d, 27},
    {"3dnowext", kNone, 0x80000001, 0, d, 30},
    {"3dnow", kNone, 0x80000001, 0, d, 31},
    {"clzero", kNone, 0x80000008, 0, b, 0},
};

CpuFeatures ask_processor() {
  const uint64_t kept = kept_state();
  CpuFeatures found;
  for (const Feature& f : kFeatures) {
    if (cpuid(f.leaf & 0x80000000).eax < f.leaf) continue;
    if (f.subleaf && f.leaf == 7 && cpuid(7).eax < f.subleaf) continue;
    const Registers answer = cpuid(f.leaf, f.subleaf);
    if ((answer.*f.where >> f.bit & 1) && (kept & f.needs) == f.needs) found.push_back(f.name);
  }
  std::sort(found.begin(), found.end());
  const char* hidden = ::getenv("HOB_CPU_WITHOUT");
  return hidden == nullptr ? found : lacking(found, features_of(hidden));
}

const char* glibc_name(const std::string& feature) {
  for (const Feature& f : kFeatures)
    if (feature == f.name) return f.glibc;
  return nullptr;
}

}  // namespace

const CpuFeatures& cpu_features() {
  static const CpuFeatures features = ask_processor();
  return features;
}

std::string join(const CpuFeatures& features) {
  std::string text;
  for (const std::string& name : features) text += (text.empty() ? "" : " ") + name;
  return text;
}

CpuFeatures features_of(std::string_view text) {
  std::istringstream words{std::string(text)};
  CpuFeatures features{std::istream_iterator<std::string>(words), {}};
  std::sort(features.begin(), features.end());
  features.erase(std::unique(features.begin(), features.end()), features.end());
  return features;
}

CpuFeatures lacking(const CpuFeatures& used, const CpuFeatures& there) {
  CpuFeatures missing;
  std::set_difference(used.begin(), used.end(), there.begin(), there.end(),
                      std::back_inserter(missing));
  return missing;
}

StateLayout state_layout() {
  constexpr uint32_t kLegacy = 512, kHeader = 64;
  StateLayout layout;
  layout.size = kLegacy + kHeader;
  const uint64_t kept = kept_state();
  if (cpuid(0).eax < kStateLeaf || !(cpuid(1).ecx & kOsxsave)) return layout;
  layout.size = cpuid(kStateLeaf).ebx;
  for (uint8_t i = 2; i < 63; i++) {
    if (!(kept >> i & 1)) continue;
    const Registers r = cpuid(kStateLeaf, i);
    layout.components.push_back({i, r.ebx, r.eax});
  }
  return layout;
}

std::string difference(const StateLayout& source, const StateLayout& here) {
  for (const StateLayout::Component& component : source.components) {
    if (kDynamicComponents >> component.number & 1) continue;
    const auto same = std::find_if(here.components.begin(), here.components.end(),
                                   [&](const auto& o) { return o.number == component.number; });
    if (same == here.components.end())
      return "its processor or kernel does not keep component " + std::to_string(component.number) +
             " of the extended state, which the source's keeps";
    if (*same != component)
      return "its processor keeps component " + std::to_string(component.number) +
             " of the extended state in another place than the source's";
  }
  return {};
}

std::string glibc_tunables(const CpuFeatures& withheld, std::string_view users_own) {
  constexpr std::string_view kName = "glibc.cpu.hwcaps=";
  std::string without;
  for (const std::string& feature : withheld)
    if (const char* name = glibc_name(feature))
      without += (without.empty() ? "-" : ",-") + std::string(name);
  std::string value(users_own);
  if (without.empty()) return value;
  // glibc takes the list from left to right, so ours has the last word on what is not everywhere.
  for (size_t at = 0; at <= value.size();) {
    const size_t end = std::min(value.find(':', at), value.size());
    if (std::string_view(value).substr(at).starts_with(kName)) {
      const bool empty = end == at + kName.size();
      return value.insert(end, (empty ? "" : ",") + without);
    }
    at = end + 1;
  }
  return value + (value.empty() ? "" : ":") + std::string(kName) + without;
}

}  // namespace hob::migrate
