#include "migrate/vdso.h"

#include <sys/auxv.h>

#include <catch2/catch.hpp>
#include <random>

#include "migrate/restore.h"
#include "rig.h"

using namespace hob;
using namespace hob::test;
using namespace hob::migrate;

namespace {

Bytes own() {
  return this_platform().value().vdso;
}

const VdsoFunction* find(const std::vector<VdsoFunction>& all, const std::string& name) {
  for (const VdsoFunction& f : all)
    if (f.name == name) return &f;
  return nullptr;
}

/// Moves the job through hosts; those that are true take their kernel for another one.
void through(const std::string& name, const std::vector<bool>& hosts) {
  Home::get().reset();
  Collector collector;
  auto host = std::make_unique<Host>(collector.write_end());
  REQUIRE(host->start({name}).ok());
  REQUIRE(collector.wait_for("ready"));
  for (const bool other : hosts) {
    auto target = std::make_unique<Host>(collector.write_end());
    if (other) target->arm(Fault::other_kernel, fault::Act::error);
    auto port = target->listen();
    REQUIRE(port.ok());
    const auto outcome = host->send(*port, *target);
    const auto received = target->received();
    INFO(outcome.text << " | " << (received.ok() ? "" : received.error().text));
    REQUIRE((outcome.moved && received.ok()));
    host = std::move(target);
  }
  host->write_input("go\n");
  const auto status = host->wait_exit(20000);
  INFO("output: " << collector.drain());
  REQUIRE(status);
  CHECK(*status == 0);
  CHECK(collector.wait_for("ok\n"));
}

}  // namespace

TEST_CASE("the functions of this kernel's vdso are found") {
  const auto functions = vdso_functions(own());
  REQUIRE(functions.ok());
  for (const char* name : {"clock_gettime", "gettimeofday", "time", "getcpu", "clock_getres"})
    CHECK(find(*functions, name) != nullptr);
  CHECK(vdso_size(own()) % kPage == 0);
  CHECK(vdso_size(own()) > 0);
}

TEST_CASE("a redirected vdso leads to the functions of the same name") {
  const Bytes old = own();
  const auto copy = redirect_vdso(old, old, {0x700000000000});
  REQUIRE(copy.ok());
  const auto functions = vdso_functions(old).value();
  const VdsoFunction* f = find(functions, "clock_gettime");
  uint64_t target = 0;
  CHECK((*copy)[f->offset] == std::byte{0x48});
  std::memcpy(&target, copy->data() + f->offset + 2, sizeof target);
  CHECK(target == 0x700000000000 + f->offset);
  // Redirected once more it is as if it had been redirected there at once.
  CHECK(*redirect_vdso(*copy, old, {0x600000000000}) == *redirect_vdso(old, old, {0x600000000000}));
}

TEST_CASE("a damaged vdso is an error or another vdso, never more") {
  const Bytes good = own();
  std::mt19937 random(1);
  for (int i = 0; i < 20000; i++) {
    Bytes bytes = good;
    for (unsigned n = 1 + random() % 8; n-- > 0;)
      bytes[random() % 2048] = static_cast<std::byte>(random());
    bytes.resize(i % 4 ? bytes.size() : random() % bytes.size());
    auto copy = redirect_vdso(bytes, good, {0x1000});
    if (copy) CHECK(copy->size() == bytes.size());
    CHECK(vdso_size(bytes) % kPage == 0);
  }
  CHECK_FALSE(redirect_vdso({}, good, {}).ok());
}

TEST_CASE("a program reads its clocks on another kernel") {
  through(victim("clocks"), {true});
}
TEST_CASE("a program reads its clocks on another kernel, static") {
  through(victim("clocks_static"), {true});
}
TEST_CASE("a program goes from kernel to kernel and home") {
  through(victim("clocks"), {true, true, false, true, false, false});
}
TEST_CASE("threads go from kernel to kernel") {
  through(victim("threads"), {true, false, true});
}
TEST_CASE("a tree goes from kernel to kernel") {
  through(victim("tree"), {true, false, true});
}
