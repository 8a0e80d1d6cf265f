#include "rig.h"

#include <unistd.h>

#include <catch2/catch.hpp>

using namespace hob::test;

TEST_CASE("input that was not read yet travels with the program") {
  Home::get().reset();
  Collector collector;
  auto source = std::make_unique<Host>(collector.write_end());
  REQUIRE(
      source->start({"/bin/sh", "-c", "echo ready; read go; while read x; do echo got $x; done"})
          .ok());
  REQUIRE(collector.wait_for("ready"));
  auto target = std::make_unique<Host>(collector.write_end());
  auto port = target->listen();
  REQUIRE(port.ok());
  source->freeze();  // so that it cannot read what comes now
  source->write_input("go\none\ntwo\n");
  auto outcome = source->send(*port, *target);
  INFO(outcome.text);
  REQUIRE(outcome.moved);
  REQUIRE(target->received().ok());
  REQUIRE(collector.wait_for("got two"));
  target->write_input("three\n");
  CHECK(collector.wait_for("got three"));
  CHECK(collector.text() == "ready\ngot one\ngot two\ngot three\n");
}

TEST_CASE(
    "a guest whose cgroup was frozen runs at the target, and stays frozen here if it cannot go") {
  Home::get().reset();
  Collector collector;
  auto source = std::make_unique<Host>(collector.write_end());
  REQUIRE(source->start({victim("memory")}).ok());
  REQUIRE(collector.wait_for("ready"));
  source->freeze();
  auto failing = std::make_unique<Host>(collector.write_end());
  failing->arm(hob::migrate::Fault::restored, hob::migrate::fault::Act::error);
  auto port = failing->listen();
  REQUIRE(port.ok());
  CHECK_FALSE(source->send(*port, *failing).moved);
  CHECK_FALSE(failing->received().ok());
  CHECK(source->frozen());

  auto target = std::make_unique<Host>(collector.write_end());
  port = target->listen();
  REQUIRE(port.ok());
  auto outcome = source->send(*port, *target);
  INFO(outcome.text);
  REQUIRE(outcome.moved);
  REQUIRE(target->received().ok());
  target->write_input("go\n");
  CHECK(target->wait_exit(10000) == 0);
  CHECK(collector.wait_for("ok\n"));
}

TEST_CASE("a program on a terminal moves with its settings and its foreground group") {
  Plan plan;
  plan.terminal = true;
  const Verdict v = run_and_move({victim("terminal")}, plan);
  INFO(v.output);
  CHECK(v.problem == "");
  CHECK(v.status == 0);
  CHECK(v.output.find("ok") != std::string::npos);
}
