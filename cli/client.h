#pragma once

#include <string>
#include <variant>

#include "cli/options.h"
#include "wire/stream.h"

namespace hob::cli {

/// A variable of the environment; `otherwise` where it is not set, or empty.
std::string from_environment(const char* name, const char* otherwise = "");

/// Where this machine's hostd listens: $REMOTE_SOCKET, else /run/hob/hostd.sock.
std::string hostd_socket();
/// Where the coordinator takes orders from root: $REMOTE_COORDINATOR_SOCKET, else
/// /run/hob/coordinator.sock.
std::string coordinator_socket();

/// `error` of connect_stream() with what to look at next: "connect to /run/hob/hostd.sock: No such
/// file or directory; is hob-hostd running on this machine?"
std::string unreachable(const Error& error, std::string_view daemon = "hob-hostd");

/// What a verb got instead of the answer it wanted: a line for stderr and an exit status.
struct Refusal {
  std::string text;
  Status status = kFailed;
};

/// Asks a daemon one thing and waits for the answer, at most `limit`. Failures become Refusals.
std::variant<pb::Envelope, Refusal> ask(const std::string& socket, std::string_view daemon,
                                        pb::Envelope request, Duration limit);

/// The second half of ask(): the answer to request 1 on an open connection.
std::variant<pb::Envelope, Refusal> receive_answer(int connection, std::string_view daemon,
                                                   Duration limit);

}  // namespace hob::cli
