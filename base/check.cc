#include "base/check.h"

#include <cstdio>
#include <cstdlib>

namespace hob {

void check_failed(const char* file, int line, const char* condition) {
  std::fprintf(stderr, "hob: invariant broken at %s:%d: %s\n", file, line, condition);
  std::abort();
}

}  // namespace hob
