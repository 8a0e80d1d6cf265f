#pragma once

#include <stdexcept>

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
  /// The same for a run with -n: up to the end of its input.
  Connection begin_without_input() {
    Connection connection = begin();
    if (!connection.receive_but_acks().envelope.data().end())
      throw std::runtime_error("-n, and input comes");
    return connection;
  }
};

}  // namespace hob::test
