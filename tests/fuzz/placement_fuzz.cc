// Any bytes are a recipe line that has a place, and rules, or none.

#include <cstdint>
#include <string_view>

#include "base/check.h"
#include "pmake/packed_rules.h"
#include "pmake/placement.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace hob::pmake;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const Rules rules = unpack(text);
  CHECK(rules == Rules{} || pack(rules) == text);
  const Rules some{{"%.o"}, {"doxygen", "gcc % -flto"}, {"true"}};
  const SizeOf size_of = [](const std::string& path) { return path.size(); };
  const Verdict verdict = place_of({.command = text, .target = text.substr(0, 8)}, some, size_of);
  CHECK(verdict.why.empty() == (verdict.place == Place::out));
  return 0;
}
