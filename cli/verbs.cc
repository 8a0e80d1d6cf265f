#include "cli/verbs.h"

#include <unistd.h>

#include "cli/shadow.h"

namespace hob::cli {
namespace {

struct CarryOut {
  char** argv;

  int operator()(const Say& say) const {
    const int fd = say.status == 0 ? STDOUT_FILENO : STDERR_FILENO;
    const auto written = write_all(fd, std::as_bytes(std::span(say.text)), "the answer");
    return written.ok() ? say.status : kFailed;
  }
  int operator()(const RunOptions& options) const { return run(options); }
  template <class T>
  int operator()(const T&) const {
    return kFailed;
  }
};

}  // namespace

int carry_out(const Command& command, char** argv) {
  return std::visit(CarryOut{argv}, command);
}

}  // namespace hob::cli
