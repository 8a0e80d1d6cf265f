#include "cli/cell.h"

#include <fmt/core.h>
#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include <climits>

#include "base/fd.h"
#include "base/host_name.h"
#include "cli/client.h"
#include "cli/new_file.h"
#include "cli/say.h"
#include "cli/text.h"
#include "cli/views.h"
#include "config/config.h"
#include "wire/zmq.h"

namespace hob::cli {
namespace {

/// The coordinator writes its ledger to disk before it answers.
constexpr Duration kAnswerWithin = seconds(10);

int fail(const Error& error, Status status = kFailed) {
  say(error.text);
  return status;
}

Status status_of(const Error& error) {
  switch (error.code) {
    case ETIMEDOUT:
      return kUnreachable;
    case EACCES:
    case EPERM:
      return kNotPermitted;
    default:
      return kFailed;
  }
}

int done(std::string_view text) {
  const auto written = write_all(STDOUT_FILENO, std::as_bytes(std::span(text)), "stdout");
  return written.ok() ? kDone : fail(written.error());
}

/// A TOML basic string. Config files are UTF-8; the parser that reads the text back refuses the
/// rest.
std::string toml(std::string_view text) {
  std::string out = "\"";
  for (char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + '"';
}

std::string coordinator_config(const CellInit& options) {
  std::string text =
      "# Made by `remote cell init`. Every key stands in coordinator.toml.sample.\n[listen]\n";
  if (!options.address.empty()) text += fmt::format("address = {}\n", toml(options.address));
  return text + fmt::format("port = {}\n\n[cell]\nkey = {}\nledger = {}\n", options.port,
                            toml(options.directory + "/coordinator.key"),
                            toml(options.state_directory + "/ledger.sqlite"));
}

Result<std::string> init(const CellInit& options) {
  const std::string config = options.directory + "/coordinator.toml";
  const std::string text = coordinator_config(options);
  TRY(parse_coordinator_config(text, config));
  TRY(make_directories(options.directory));
  TRY(make_directories(options.state_directory, 0700));
  const wire::KeyPair keys = wire::generate_key_pair();
  NewFile key_file = TRY(NewFile::create(options.directory + "/coordinator.key",
                                         wire::to_text(keys.secret_key) + "\n", 0600));
  NewFile config_file = TRY(NewFile::create(config, text, 0644));
  TRY(key_file.commit());
  if (auto committed = config_file.commit(); !committed.ok()) {
    key_file.take_back();
    return committed.error();
  }
  return fmt::format(
      "This machine can be the coordinator of a cell: start hob-coordinator.\n"
      "Configuration: {}. Public key: {}.\n"
      "Then, for each workstation: `remote cell invite` here, `remote cell join` there.\n",
      config, wire::to_text(keys.public_key));
}

Result<std::string> own_host_name() {
  char name[HOST_NAME_MAX + 1] = {};
  if (::gethostname(name, sizeof name - 1) < 0) return Error::sys("read", "this machine's name");
  std::string text(name);
  text.resize(std::min(text.size(), text.find('.')));
  if (!is_host_name(text))
    return Error{fmt::format("use '{}' as this host's name: it is none; give one with --name",
                             printable(text))};
  return text;
}

/// Everything about the joining host, before anything is sent.
struct Joining {
  wire::Invitation invitation;
  wire::KeyPair keys;
  std::string name, endpoint, config_path, config;
};

Result<Joining> prepare(const CellJoin& options) {
  Joining joining{TRY(wire::invitation_from_text(options.invitation)),
                  wire::generate_key_pair(),
                  {},
                  {},
                  {},
                  {}};
  joining.name = options.host.empty() ? TRY(own_host_name()) : options.host;
  const std::string address = options.address.empty()
                                  ? TRY(own_address_towards(joining.invitation.endpoint))
                                  : options.address;
  joining.endpoint = address.find(':') == std::string::npos
                         ? fmt::format("tcp://{}:{}", address, options.port)
                         : fmt::format("tcp://[{}]:{}", address, options.port);
  joining.config_path = options.directory + "/hostd.toml";
  joining.config = fmt::format(
      "# Made by `remote cell join`. Every key stands in hostd.toml.sample.\n"
      "[host]\nname = {}\naddress = {}\nport = {}\nkey = {}\n\n"
      "[cell]\ncoordinator = {}\ncoordinator_key = {}\n",
      toml(joining.name), toml(address), options.port, toml(options.directory + "/host.key"),
      toml(joining.invitation.endpoint), toml(wire::to_text(joining.invitation.coordinator_key)));
  TRY(parse_hostd_config(joining.config, joining.config_path));
  return joining;
}

/// Sends Join with the one-time key, and waits. Returns the cell's name.
Result<std::string> register_host(const Joining& joining) {
  const wire::Key& secret = joining.invitation.secret_key;
  const wire::KeyPair one_time{TRY(wire::public_key_of(secret)), secret};
  auto loop = TRY(EventLoop::create());
  auto context = TRY(wire::Context::create(*loop, [](const wire::Key&) { return std::string(); }));
  auto client = TRY(wire::Client::connect(*context, joining.invitation.endpoint,
                                          joining.invitation.coordinator_key, one_time,
                                          [](wire::Message) {}));
  wire::Message message;
  pb::Join& join = *message.envelope.mutable_join();
  join.set_name(joining.name);
  join.set_endpoint(joining.endpoint);
  join.set_public_key(joining.keys.public_key.data(), joining.keys.public_key.size());
  std::optional<pb::Envelope> answer;
  client->request(std::move(message), kAnswerWithin,
                  [&](wire::Message m) { answer = std::move(m.envelope); });
  while (!answer) loop->run_once(seconds(1));

  if (answer->has_joined()) return answer->joined().cell();
  if (!answer->has_failure())
    return Error{"join the cell: the coordinator answered something else"};
  // Strangers get silence.
  if (answer->failure().kind() == pb::Failure::UNREACHABLE)
    return Error{
        fmt::format("join the cell: no answer from {}; does hob-coordinator run there, and is "
                    "the invitation of this cell?",
                    joining.invitation.endpoint),
        ETIMEDOUT};
  return Error{answer->failure().text(),
               answer->failure().kind() == pb::Failure::NOT_PERMITTED ? EACCES : 0};
}

Result<std::string> join(const CellJoin& options) {
  const Joining joining = TRY(prepare(options));
  TRY(make_directories(options.directory));
  // Both files are ready before the coordinator is asked: after it has said yes, only renames are
  // left.
  NewFile key_file = TRY(NewFile::create(options.directory + "/host.key",
                                         wire::to_text(joining.keys.secret_key) + "\n", 0600));
  NewFile config_file = TRY(NewFile::create(joining.config_path, joining.config, 0644));
  const std::string cell = TRY(register_host(joining));
  TRY(key_file.commit());
  TRY(config_file.commit());
  return fmt::format("{} is a host of {} now: start hob-hostd. Configuration: {}.\n", joining.name,
                     cell.empty() ? "the cell" : "cell " + printable(cell), joining.config_path);
}

/// Asks the coordinator of this machine; what it refuses is said, else `use` makes the exit status
/// of its answer.
template <class Use>
int ask_coordinator(pb::Envelope request, Use use) {
  const auto answer =
      ask(coordinator_socket(), "hob-coordinator", std::move(request), kAnswerWithin);
  if (const auto* refusal = std::get_if<Refusal>(&answer))
    return fail({refusal->text}, refusal->status);
  return use(std::get<pb::Envelope>(answer));
}

}  // namespace

Result<std::string> own_address_towards(const std::string& endpoint) {
  const auto fail = [&](std::string_view cause) {
    return Error{fmt::format("find the way to {}: {}; give this host's address with --address",
                             printable(endpoint), cause)};
  };
  const size_t colon = endpoint.rfind(':');
  if (!endpoint.starts_with("tcp://") || colon < 6) return fail("no address");
  std::string host = endpoint.substr(6, colon - 6);
  if (host.size() > 2 && host.front() == '[') host = host.substr(1, host.size() - 2);
  addrinfo hints{}, *found = nullptr;
  hints.ai_socktype = SOCK_DGRAM;
  if (int code = ::getaddrinfo(host.c_str(), endpoint.c_str() + colon + 1, &hints, &found);
      code != 0)
    return fail(::gai_strerror(code));
  // Connecting a datagram socket sends nothing; it makes the kernel choose a source address.
  Fd socket(::socket(found->ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  sockaddr_storage own{};
  socklen_t size = sizeof own;
  const bool chosen = socket && ::connect(socket.get(), found->ai_addr, found->ai_addrlen) == 0 &&
                      ::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&own), &size) == 0;
  const int code = errno;
  ::freeaddrinfo(found);
  if (!chosen) return fail(::strerrordesc_np(code));
  char text[NI_MAXHOST];
  if (::getnameinfo(reinterpret_cast<sockaddr*>(&own), size, text, sizeof text, nullptr, 0,
                    NI_NUMERICHOST) != 0)
    return fail("no numeric address");
  return std::string(text);
}

int cell_init(const CellInit& options) {
  const auto result = init(options);
  return result.ok() ? done(*result) : fail(result.error(), status_of(result.error()));
}

int cell_invite(const CellInvite& options) {
  pb::Envelope request;
  request.mutable_invite()->set_name(options.host);
  return ask_coordinator(std::move(request), [](const pb::Envelope& answer) {
    const auto invitation = wire::invitation_from_text(answer.invitation().text());
    return invitation.ok() ? done(answer.invitation().text() + "\n") : fail(invitation.error());
  });
}

int cell_invitations(const CellInvitations& options) {
  pb::Envelope request;
  request.mutable_list_invitations();
  return ask_coordinator(std::move(request), [&](const pb::Envelope& answer) {
    return done(view(answer.invitation_list(), options));
  });
}

int cell_join(const CellJoin& options) {
  const auto result = join(options);
  return result.ok() ? done(*result) : fail(result.error(), status_of(result.error()));
}

int cell_remove(const CellRemove& options) {
  pb::Envelope request;
  request.mutable_remove_host()->set_name(options.host);
  return ask_coordinator(std::move(request), [](const pb::Envelope&) { return int{kDone}; });
}

}  // namespace hob::cli
