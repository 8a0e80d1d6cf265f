#include "pmake/bmake.h"

#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>

namespace hob::pmake {
namespace {

constexpr const char* kDefault = "/usr/share/mk";

}  // namespace

Result<std::string> system_makefile(const std::string& shell, const std::string& path) {
  const std::string places = path.empty() ? kDefault : path;
  for (size_t at = 0; at <= places.size();) {
    const size_t end = std::min(places.find(':', at), places.size());
    const std::string file = places.substr(at, end - at) + "/sys.mk";
    at = end + 1;
    if (::access(file.c_str(), R_OK) == 0)
      return fmt::format(".SHELL: name=sh path={}\n.include \"{}\"\n", shell, file);
  }
  return Error{fmt::format("find bmake's sys.mk in {}; is bmake installed?", places)};
}

std::string system_path(const std::string& directory, const std::string& path) {
  return directory + ":" + (path.empty() ? kDefault : path);
}

}  // namespace hob::pmake
