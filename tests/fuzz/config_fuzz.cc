// Any text is a config or an error that names its place; it is never a crash.

#include <cstdint>
#include <string_view>

#include "base/check.h"
#include "config/config.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const hob::Result<hob::HostdConfig> hostd = hob::parse_hostd_config(text, "f");
  if (!hostd.ok()) CHECK(hostd.error().text.starts_with("f:"));
  // What has been read and is written again reads as the same.
  if (hostd.ok()) {
    std::string written;
    for (const auto& [key, value] : hob::show_config(*hostd)) written += key + " = " + value + "\n";
    const hob::Result<hob::HostdConfig> again = hob::parse_hostd_config(written, "g");
    CHECK(again.ok());
    CHECK(hob::show_config(*again) == hob::show_config(*hostd));
  }
  const hob::Result<hob::CoordinatorConfig> coordinator = hob::parse_coordinator_config(text, "f");
  if (!coordinator.ok()) CHECK(coordinator.error().text.starts_with("f:"));
  return 0;
}
