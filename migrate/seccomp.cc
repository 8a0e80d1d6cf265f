#include <linux/filter.h>

#include <iterator>

#include "migrate/program.h"

namespace hob::migrate {

namespace {
sock_filter code[] = {
#include "migrate/seccomp_filter.inc"  // from seccomp_compile.cc, where the lists are
};
const sock_fprog program{static_cast<unsigned short>(std::size(code)), code};
}  // namespace

const sock_fprog& seccomp_program() {
  return program;
}

}  // namespace hob::migrate
