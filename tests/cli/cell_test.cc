// `remote cell` against a coordinator that the test plays, over real CURVE sockets.
#include "cli/cell.h"

#include <sys/stat.h>
#include <sys/wait.h>

#include <csignal>
#include <filesystem>
#include <thread>

#include "config/config.h"
#include "rig.h"
#include "wire/zmq.h"
//
#include <catch2/catch.hpp>

using namespace hob;
using namespace hob::test;

namespace {

Process cell(std::vector<std::string> arguments, const std::string& socket = "/nonexistent.sock") {
  arguments.insert(arguments.begin(), "cell");
  return Process(remote_program(), std::move(arguments),
                 {{"REMOTE_COORDINATOR_SOCKET=" + socket}, [] {}, {}, {}, {}});
}

unsigned mode_of(const std::string& path) {
  struct stat status {};
  REQUIRE(::stat(path.c_str(), &status) == 0);
  return status.st_mode & 0777;
}

size_t files_in(const std::string& directory) {
  if (!std::filesystem::exists(directory)) return 0;
  return static_cast<size_t>(std::distance(std::filesystem::directory_iterator(directory), {}));
}

/// A coordinator that knows one invitation and answers Join with what `answer` makes of it.
class FakeCoordinator {
 public:
  using Answer = std::function<pb::Envelope(const pb::Join&)>;
  explicit FakeCoordinator(Answer answer) : answer_(std::move(answer)) {
    loop_ = EventLoop::create().value();
    context_ = wire::Context::create(*loop_, [this](const wire::Key& key) {
                 return key == one_time_.public_key ? "invite:1" : "";
               }).value();
    server_ =
        wire::Server::listen(*context_, "tcp://127.0.0.1:*", keys_.secret_key,
                             [this](const std::string& peer, const auto& to, wire::Message m) {
                               if (!m.envelope.has_join()) return;
                               peer_ = peer;
                               joins_.push_back(m.envelope.join());
                               server_->answer(to, m.envelope, answer_(m.envelope.join()));
                             })
            .value();
  }
  wire::Invitation invitation() const {
    return {server_->endpoint(), keys_.public_key, one_time_.secret_key};
  }
  /// Serves until `process` has ended; its status.
  int serve(Process& process) {
    std::optional<int> status;
    std::jthread waiter([&] {
      status = process.finish();
      loop_->defer([] {});
      done_ = true;
    });
    while (!done_) loop_->run_once(milliseconds(5));
    waiter.join();
    return *status;
  }
  const std::vector<pb::Join>& joins() const { return joins_; }
  const std::string& peer() const { return peer_; }
  const wire::Key& public_key() const { return keys_.public_key; }

 private:
  Answer answer_;
  wire::KeyPair keys_ = wire::generate_key_pair(), one_time_ = wire::generate_key_pair();
  std::unique_ptr<EventLoop> loop_;
  std::unique_ptr<wire::Context> context_;
  std::unique_ptr<wire::Server> server_;
  std::vector<pb::Join> joins_;
  std::string peer_;
  std::atomic<bool> done_ = false;
};

pb::Envelope joined(const pb::Join&) {
  pb::Envelope envelope;
  envelope.mutable_joined()->set_cell("lab");
  return envelope;
}

}  // namespace

TEST_CASE(
    "cell init makes a key and a configuration that the coordinator takes, and overwrites none") {
  TemporaryDirectory directory;
  const std::string etc = directory.path() + "/etc/\"hob\"", state = directory.path() + "/state";
  const std::vector<std::string> arguments{"init", "--address",   "10.77.0.1", "--dir",
                                           etc,    "--state-dir", state};
  Process first = cell(arguments);
  CHECK(exited_with(first.finish(), 0));
  const auto config = load_coordinator_config(etc + "/coordinator.toml");
  REQUIRE(config.ok());
  CHECK(config->listen_address == "10.77.0.1");
  CHECK(config->listen_port == 7717);
  CHECK(config->cell_key == etc + "/coordinator.key");
  CHECK(config->cell_ledger == state + "/ledger.sqlite");
  CHECK(mode_of(config->cell_key) == 0600);
  CHECK(mode_of(state) == 0700);
  const auto key = wire::read_secret_key(config->cell_key);
  REQUIRE(key.ok());
  CHECK(first.output().find(wire::to_text(wire::public_key_of(*key).value())) != std::string::npos);

  Process second = cell(arguments);
  CHECK(exited_with(second.finish(), 1));
  CHECK(second.error().find("File exists") != std::string::npos);
  CHECK(wire::read_secret_key(config->cell_key).value() == *key);
  CHECK(files_in(etc) == 2);
}

TEST_CASE("cell init refuses what makes no valid configuration, and leaves nothing") {
  TemporaryDirectory directory;
  const std::string etc = directory.path() + "/etc";
  Process process = cell({"init", "--dir", etc, "--state-dir", "relative"});
  CHECK(exited_with(process.finish(), 1));
  CHECK(files_in(etc) == 0);
}

TEST_CASE("cell join registers a new key and writes hostd's configuration") {
  TemporaryDirectory directory;
  FakeCoordinator coordinator(joined);
  Process process = cell({"join", wire::to_text(coordinator.invitation()), "--name", "h3",
                          "--address", "10.77.0.3", "--dir", directory.path()});
  REQUIRE(exited_with(coordinator.serve(process), 0));
  CHECK(process.output().find("h3 is a host of cell lab now") != std::string::npos);
  CHECK(coordinator.peer() == "invite:1");
  REQUIRE(coordinator.joins().size() == 1);
  const pb::Join& join = coordinator.joins()[0];
  CHECK(join.name() == "h3");
  CHECK(join.endpoint() == "tcp://10.77.0.3:7718");
  const auto config = load_hostd_config(directory.path() + "/hostd.toml");
  REQUIRE(config.ok());
  CHECK(config->host_name == "h3");
  CHECK(config->host_address == "10.77.0.3");
  CHECK(config->host_port == 7718);
  CHECK(config->cell_coordinator == coordinator.invitation().endpoint);
  CHECK(config->cell_coordinator_key == wire::to_text(coordinator.public_key()));
  const auto key = wire::read_secret_key(config->host_key);
  REQUIRE(key.ok());
  const wire::Key public_key = wire::public_key_of(*key).value();
  CHECK(join.public_key() == std::string(public_key.begin(), public_key.end()));
  CHECK(mode_of(config->host_key) == 0600);
  CHECK(files_in(directory.path()) == 2);
}

TEST_CASE("cell join finds this machine's own address") {
  TemporaryDirectory directory;
  FakeCoordinator coordinator(joined);
  Process process = cell({"join", wire::to_text(coordinator.invitation()), "--name", "h3", "--port",
                          "9000", "--dir", directory.path()});
  REQUIRE(exited_with(coordinator.serve(process), 0));
  CHECK(coordinator.joins().at(0).endpoint() == "tcp://127.0.0.1:9000");
}

TEST_CASE("cell join that is refused leaves nothing") {
  TemporaryDirectory directory;
  FakeCoordinator coordinator([](const pb::Join&) {
    return wire::failure(pb::Failure::NOT_PERMITTED, "join h3: that name is taken");
  });
  Process process = cell({"join", wire::to_text(coordinator.invitation()), "--name", "h3",
                          "--address", "10.77.0.3", "--dir", directory.path()});
  CHECK(exited_with(coordinator.serve(process), 5));
  CHECK(process.error() == "remote: join h3: that name is taken\n");
  CHECK(files_in(directory.path()) == 0);
}

TEST_CASE("cell join that is interrupted leaves nothing, whatever the signal") {
  for (int number : {SIGINT, SIGKILL}) {
    TemporaryDirectory directory;
    // A coordinator that is asked and does not answer.
    Process process =
        cell({"join", wire::to_text(wire::Invitation{"tcp://127.0.0.1:9", {}, {}}), "--name", "h3",
              "--address", "10.77.0.3", "--dir", directory.path() + "/etc"});
    // Its files are ready when it begins to ask: ZeroMQ's threads run.
    REQUIRE(eventually([&] {
      std::error_code none;
      const std::filesystem::path tasks = "/proc/" + std::to_string(process.pid()) + "/task";
      return std::distance(std::filesystem::directory_iterator(tasks, none), {}) > 1;
    }));
    process.signal(number);
    CHECK(died_of(process.finish(), number));
    CHECK(files_in(directory.path() + "/etc") == 0);
  }
}

TEST_CASE("cell join does not touch a machine that is a host already") {
  TemporaryDirectory directory;
  REQUIRE(replace_file(directory.path() + "/hostd.toml", "mine").ok());
  FakeCoordinator coordinator(joined);
  Process process = cell({"join", wire::to_text(coordinator.invitation()), "--name", "h3",
                          "--address", "10.77.0.3", "--dir", directory.path()});
  CHECK(exited_with(coordinator.serve(process), 1));
  CHECK(coordinator.joins().empty());
  CHECK(read_file(directory.path() + "/hostd.toml").value() == "mine");
  CHECK(files_in(directory.path()) == 1);
}

TEST_CASE("cell invite prints the coordinator's invitation; remove names the host") {
  TemporaryDirectory directory;
  FakeHostd coordinator(directory.path() + "/coordinator.sock");  // the same framing
  const std::string text = wire::to_text(wire::Invitation{"tcp://10.77.0.1:7717", {}, {}});
  Process invite = cell({"invite", "--name", "h3"}, coordinator.path());
  {
    Connection connection = coordinator.accept();
    const pb::Envelope request = connection.receive().envelope;
    CHECK(request.invite().name() == "h3");
    pb::Envelope answer;
    answer.mutable_invitation()->set_text(text);
    connection.answer(request, std::move(answer));
  }
  CHECK(exited_with(invite.finish(), 0));
  CHECK(invite.output() == text + "\n");

  Process remove = cell({"remove", "h9"}, coordinator.path());
  Connection connection = coordinator.accept();
  const pb::Envelope request = connection.receive().envelope;
  CHECK(request.remove_host().name() == "h9");
  connection.answer(request, wire::failure(pb::Failure::NOT_FOUND, "remove h9: no such host"));
  CHECK(exited_with(remove.finish(), 4));
  CHECK(remove.error() == "remote: remove h9: no such host\n");
}

TEST_CASE("cell invitations: those that can still be used") {
  TemporaryDirectory directory;
  FakeHostd coordinator(directory.path() + "/coordinator.sock");
  const auto listed = [&](std::vector<std::string> words) {
    Process process = cell(std::move(words), coordinator.path());
    Connection connection = coordinator.accept();
    const pb::Envelope request = connection.receive().envelope;
    CHECK(request.has_list_invitations());
    pb::Envelope answer;
    pb::InvitationList::Entry& entry = *answer.mutable_invitation_list()->add_invitations();
    entry.set_number("0a1b2c3d");
    entry.set_made_wall_ns(1'772'366'400'000'000'000);
    entry.set_expires_wall_ns(1'772'452'800'000'000'000);
    connection.answer(request, std::move(answer));
    CHECK(exited_with(process.finish(), 0));
    return process.output();
  };
  CHECK(listed({"invitations"}).starts_with("INVITATION  HOST  MADE"));
  CHECK(listed({"invitations", "--no-headers"}).starts_with("0a1b2c3d  any  2026-0"));
  CHECK(listed({"invitations", "-o", "name"}) == "0a1b2c3d\n");
  CHECK(listed({"invitations", "--json"}) ==
        "{\"schema\":1,\"invitations\":[{\"number\":\"0a1b2c3d\",\"host\":\"\",\"made\":"
        "\"2026-03-01T12:00:00.000Z\",\"expires\":\"2026-03-02T12:00:00.000Z\"}]}\n");
}

TEST_CASE("cell invite without a coordinator") {
  Process process = cell({"invite"});
  CHECK(exited_with(process.finish(), 3));
  CHECK(process.error() ==
        "remote: connect to /nonexistent.sock: No such file or directory; is hob-coordinator "
        "running on "
        "this machine?\n");
}
