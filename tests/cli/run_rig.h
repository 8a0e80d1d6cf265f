#pragma once

#include <sys/wait.h>

#include "rig.h"

namespace hob::test {

/// `remote run` and the hostd it talks to.
struct RunRig {
  TemporaryDirectory directory;
  FakeHostd hostd{directory.path() + "/hostd.sock"};

  Process start(std::vector<std::string> arguments, Process::Setup setup = {}) {
    arguments.insert(arguments.begin(), "run");
    setup.environment.push_back("REMOTE_SOCKET=" + hostd.path());
    return Process(remote_program(), std::move(arguments), std::move(setup));
  }
  /// Up to the moment at which the job runs.
  Connection begin() {
    Connection connection = hostd.accept();
    connection.accept(connection.receive().envelope);
    connection.started();
    return connection;
  }
};

inline bool exited_with(int status, int code) {
  return WIFEXITED(status) && WEXITSTATUS(status) == code;
}

}  // namespace hob::test
