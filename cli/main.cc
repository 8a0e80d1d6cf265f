// remote: what a user types. Static, and with as little before main() as can be: it is started once
// per job.
#include <unistd.h>

#include "cli/grammar.h"
#include "cli/say.h"
#include "cli/shadow.h"
#include "cli/standard_stream.h"
#include "cli/verbs.h"

int main(int argc, char** argv) {
  using namespace hob::cli;
  const auto closed = occupy_standard_descriptors();
  Command command = parse({argv + (argc > 0), static_cast<size_t>(argc > 0 ? argc - 1 : 0)});
  if (auto* run = std::get_if<RunOptions>(&command)) run->closed = closed;
  // _exit: nothing here is worth taking down in order, and a job waits for each microsecond.
  ::_exit(carry_out(command, argv));
}
