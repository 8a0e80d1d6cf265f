#include "cli/client.h"

#include <fmt/core.h>

#include <cerrno>
#include <cstdlib>

namespace hob::cli {
namespace {

Status status_of(pb::Failure::Kind kind) {
  switch (kind) {
    case pb::Failure::USAGE:
      return kUsage;
    case pb::Failure::UNREACHABLE:
      return kUnreachable;
    case pb::Failure::NOT_FOUND:
      return kNotFound;
    case pb::Failure::NOT_PERMITTED:
      return kNotPermitted;
    default:
      return kFailed;
  }
}

}  // namespace

std::string from_environment(const char* name, const char* otherwise) {
  const char* value = ::getenv(name);
  return value != nullptr && *value != '\0' ? value : otherwise;
}

std::string hostd_socket() {
  return from_environment("REMOTE_SOCKET", "/run/hob/hostd.sock");
}

std::string coordinator_socket() {
  return from_environment("REMOTE_COORDINATOR_SOCKET", "/run/hob/coordinator.sock");
}

std::string unreachable(const Error& error, std::string_view daemon) {
  if (error.code == EACCES && daemon == "hob-coordinator")
    return error.text + "; only root gives the coordinator orders";
  if (error.code == EACCES) return error.text + "; ask whoever runs this machine for access";
  if (error.code == ENAMETOOLONG)
    return fmt::format("connect to {}: the path in ${} is too long for a socket; 107 bytes fit",
                       daemon,
                       daemon == "hob-coordinator" ? "REMOTE_COORDINATOR_SOCKET" : "REMOTE_SOCKET");
  return fmt::format("{}; is {} running on this machine?", error.text, daemon);
}

std::variant<pb::Envelope, Refusal> ask(const std::string& socket, std::string_view daemon,
                                        pb::Envelope request, Duration limit) {
  auto connection = wire::connect_stream(socket);
  if (!connection.ok())
    return Refusal{unreachable(connection.error(), daemon),
                   connection.error().code == EACCES ? kNotPermitted : kUnreachable};
  request.set_request(1);
  if (auto sent = wire::send_blocking(connection->get(), {std::move(request), {}}); !sent.ok())
    return Refusal{fmt::format("ask {}: {}", daemon, sent.error().text), kUnreachable};
  return receive_answer(connection->get(), daemon, limit);
}

std::variant<pb::Envelope, Refusal> receive_answer(int connection, std::string_view daemon,
                                                   Duration limit) {
  wire::StreamDecoder decoder;
  const Time deadline = Clock::now() + limit;
  for (;;) {
    auto answer = wire::receive_blocking(connection, decoder, deadline - Clock::now());
    if (!answer.ok())
      return Refusal{fmt::format("ask {}: {}", daemon, answer.error().text), kUnreachable};
    pb::Envelope& envelope = answer->envelope;
    if (envelope.answers() != 1) continue;
    if (!envelope.has_failure()) return std::move(envelope);
    return Refusal{envelope.failure().text(), status_of(envelope.failure().kind())};
  }
}

}  // namespace hob::cli
