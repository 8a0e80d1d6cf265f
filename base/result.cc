#include "base/result.h"

#include <cstring>

namespace hob {

Error Error::sys(std::string_view operation, std::string_view subject, int code,
                 std::string_view hint) {
  std::string text(operation);
  if (!subject.empty()) text.append(" ").append(subject);
  char buffer[128];
  text.append(": ").append(::strerror_r(code, buffer, sizeof buffer));
  if (!hint.empty()) text.append("; ").append(hint);
  return Error{std::move(text), code};
}

Error Error::in(std::string_view context) && {
  return Error{std::string(context) + ": " + text, code};
}

}  // namespace hob
