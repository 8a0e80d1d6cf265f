#include "migrate/cpu_features.h"

#include <algorithm>
#include <catch2/catch.hpp>

using namespace hob::migrate;

TEST_CASE("features are told as one line and read back") {
  CHECK(join(features_of("sse4_2 avx  avx avx2 ")) == "avx avx2 sse4_2");
  CHECK(features_of("").empty());
  CHECK(features_of(join(cpu_features())) == cpu_features());
}

TEST_CASE("what is lacking is named") {
  struct Row {
    const char *used, *there, *lacking;
  };
  for (const Row& row : {Row{"", "", ""}, Row{"avx avx2", "avx avx2", ""},
                         Row{"avx", "avx avx2", ""}, Row{"avx avx2 bmi2", "avx", "avx2 bmi2"},
                         Row{"avx", "", "avx"}, Row{"avx not_yet_known", "avx", "not_yet_known"}}) {
    CAPTURE(row.used, row.there);
    CHECK(join(lacking(features_of(row.used), features_of(row.there))) == row.lacking);
  }
}

TEST_CASE("glibc is told what to do without") {
  struct Row {
    const char *withheld, *users_own, *value;
  };
  for (const Row& row : {
           Row{"", "", ""},
           Row{"", "glibc.malloc.check=3", "glibc.malloc.check=3"},
           Row{"avx2", "", "glibc.cpu.hwcaps=-AVX2"},
           Row{"avx2 abm sha_ni", "", "glibc.cpu.hwcaps=-LZCNT,-AVX2"},
           Row{"sha_ni", "", ""},  // glibc never uses it
           Row{"avx2", "glibc.malloc.check=3", "glibc.malloc.check=3:glibc.cpu.hwcaps=-AVX2"},
           Row{"avx2", "glibc.cpu.hwcaps=-ERMS", "glibc.cpu.hwcaps=-ERMS,-AVX2"},
           Row{"avx2", "glibc.cpu.hwcaps=AVX2", "glibc.cpu.hwcaps=AVX2,-AVX2"},
           Row{"avx2", "glibc.cpu.hwcaps=", "glibc.cpu.hwcaps=-AVX2"},
           Row{"avx2", "a=1:glibc.cpu.hwcaps=-ERMS:b=2", "a=1:glibc.cpu.hwcaps=-ERMS,-AVX2:b=2"},
           Row{"avx2", "my.glibc.cpu.hwcaps=1", "my.glibc.cpu.hwcaps=1:glibc.cpu.hwcaps=-AVX2"},
       }) {
    CAPTURE(row.withheld, row.users_own);
    CHECK(glibc_tunables(features_of(row.withheld), row.users_own) == row.value);
  }
}

TEST_CASE("state that is kept elsewhere, or not at all, is an obstacle; more is none") {
  const StateLayout avx = {832, {{2, 576, 256}}};
  const StateLayout avx512 = {2696,
                              {{2, 576, 256}, {5, 1088, 64}, {6, 1152, 512}, {7, 1664, 1024}}};
  StateLayout tiles = avx512;
  tiles.size = 11008;
  tiles.components.push_back({18, 2816, 8192});
  StateLayout moved = avx512;
  moved.components.back().offset += 64;
  CHECK(difference(avx, avx).empty());
  CHECK(difference(avx, avx512).empty());
  CHECK(difference({}, avx).empty());
  CHECK(difference(avx512, avx).find("component 5") != std::string::npos);
  CHECK(difference(avx512, moved).find("another place") != std::string::npos);
  CHECK(difference(tiles, avx512).empty());  // who has asked for tiles is known at the capture
}

TEST_CASE("this processor keeps the state of the features it has") {
  const CpuFeatures& features = cpu_features();
  const StateLayout layout = state_layout();
  const auto has = [&](const char* name) {
    return std::binary_search(features.begin(), features.end(), name);
  };
  const auto keeps = [&](uint8_t number) {
    return std::any_of(layout.components.begin(), layout.components.end(),
                       [&](const auto& c) { return c.number == number; });
  };
  CHECK(std::is_sorted(features.begin(), features.end()));
  CHECK((!has("avx2") || has("avx")));
  CHECK((!has("avx") || keeps(2)));
  CHECK((!has("avx512f") || (keeps(5) && keeps(6) && keeps(7))));
  CHECK((!has("amx_tile") || keeps(18)));
  for (const auto& c : layout.components) CHECK(c.offset + c.size <= layout.size);
}
