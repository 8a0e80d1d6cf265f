#include "hostd/activity.h"

namespace hob {

Result<std::unique_ptr<InputSource>> make_input_source(EventLoop& loop, const std::string& spec,
                                                       TerminalFilter not_the_owners) {
  if (spec == "evdev") return make_evdev_source(loop);
  if (spec == "tty") {
    TtyOptions options;
    options.not_the_owners = std::move(not_the_owners);
    return make_tty_source(loop, std::move(options));
  }
  if (spec.starts_with("file:/")) return make_file_source(loop, spec.substr(5));
  return Error{"'" + spec +
               "' is no input source; there are \"evdev\", \"tty\" and \"file:/PATH\""};
}

}  // namespace hob
