// Sockets of a job that comes to another host: a network of its own, in which others may have what
// it needs.
#include "rig.h"

#include <netinet/in.h>
#include <sys/socket.h>

#include <catch2/catch.hpp>

using namespace hob;
using namespace hob::test;

namespace {

/// Free here for the moment: had by this process until it has asked.
uint16_t free_port() {
  const Fd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  socklen_t size = sizeof address;
  REQUIRE(::bind(socket.get(), reinterpret_cast<sockaddr*>(&address), size) == 0);
  REQUIRE(::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&address), &size) == 0);
  return ntohs(address.sin_port);
}

struct Job {
  Collector collector;
  Host host{collector.write_end()};
  uint16_t port = free_port();

  Job() {
    Home::get().reset();
    REQUIRE(host.start({victim("tcp"), std::to_string(port)}).ok());
    REQUIRE(collector.wait_for("ready"));
  }
  Host::Outcome move(Host& target, const char* strategy, Result<void>& received,
                     uint16_t taken = 0) {
    migrate::SendOptions options;
    options.strategy = migrate::strategy_named(strategy).value();
    auto to = target.listen({.own_network = true, .taken = taken});
    REQUIRE(to.ok());
    Host::Outcome outcome = host.send(*to, target, options);
    received = target.received();
    return outcome;
  }
  void finishes_on(Host& where) {
    where.write_input("go\n");
    auto status = where.wait_exit(15000);
    INFO("output: " << collector.drain());
    REQUIRE(status);
    CHECK(*status == 0);
    CHECK(collector.wait_for("ok\n"));
  }
};

}  // namespace

TEST_CASE("connections and servers come into another network") {
  for (const char* strategy : {"swap-out", "flush", "freeze-copy", "pre-copy"}) {
    INFO(strategy);
    Job job;
    Host target(job.collector.write_end());
    Result<void> received;
    const auto outcome = job.move(target, strategy, received);
    INFO(outcome.text);
    REQUIRE(outcome.moved);
    REQUIRE(received.ok());
    job.finishes_on(target);
  }
}

TEST_CASE("a port that another program has there is named, and the job goes on where it is") {
  Job job;
  Host target(job.collector.write_end());
  Result<void> received;
  const auto outcome = job.move(target, "swap-out", received, job.port);
  CHECK_FALSE(outcome.moved);
  CHECK(outcome.text.find("bind TCP 0.0.0.0:" + std::to_string(job.port) +
                          ": Address already in use; another program has that port here; end it") !=
        std::string::npos);
  INFO(outcome.text);
  CHECK_FALSE(received.ok());
  // Nothing was taken out of its queues, nothing was shut.
  Host other(job.collector.write_end());
  const auto second = job.move(other, "freeze-copy", received);
  INFO(second.text);
  REQUIRE(second.moved);
  job.finishes_on(other);
}

TEST_CASE("a move that fails at the last moment leaves connections as they were") {
  for (bool own_network : {false, true}) {
    Job job;
    Host target(job.collector.write_end());
    target.arm(migrate::Fault::restored, migrate::fault::Act::error);
    auto to = target.listen({.own_network = own_network});
    REQUIRE(to.ok());
    const auto outcome = job.host.send(*to, target);
    CHECK_FALSE(outcome.moved);
    CHECK_FALSE(target.received().ok());
    job.finishes_on(job.host);
  }
}
