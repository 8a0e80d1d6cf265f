#include "hostd/evictions.h"

#include <catch2/catch.hpp>

using namespace hob;
using namespace hob::hostd;

namespace {

struct Asked {
  int ends = 0;
  std::string text;
  Evictions::OnEnd on_end() {
    return [this](pb::Envelope envelope) {
      ends++;
      text = envelope.has_failure() ? envelope.failure().text() : "done";
    };
  }
};

}  // namespace

TEST_CASE("an eviction is over when all guests have left, or ended") {
  auto loop = EventLoop::create().value();
  Evictions evictions(*loop, hours(1));
  Asked one, nobody;
  evictions.begin({"h0.1", "h0.2"}, one.on_end());
  evictions.begin({}, nobody.on_end());
  CHECK(nobody.text == "done");
  evictions.left("h0.1");
  evictions.left("h0.7");
  CHECK(one.ends == 0);
  evictions.left("h0.2");
  CHECK(one.text == "done");
  evictions.left("h0.2");
  CHECK(one.ends == 1);
}

TEST_CASE("who stays is named, with why, to all who asked") {
  auto loop = EventLoop::create().value();
  Evictions evictions(*loop, hours(1));
  Asked both, second;
  evictions.begin({"h0.1", "h0.2"}, both.on_end());
  evictions.begin({"h0.2"}, second.on_end());
  evictions.stays("h0.2", "fd 3: a device");
  CHECK(second.text == "evict: h0.2 stays: fd 3: a device");
  evictions.left("h0.1");
  CHECK(both.text == "evict: h0.2 stays: fd 3: a device");
  CHECK(both.ends == 1);
}

TEST_CASE("who is silent is named when the limit is over") {
  auto loop = EventLoop::create().value();
  Evictions evictions(*loop, milliseconds(1));
  Asked asked;
  evictions.begin({"h0.1"}, asked.on_end());
  while (asked.ends == 0) loop->run_once(milliseconds(100));
  CHECK(asked.text == "evict: h0.1 has not left within 0 s; it is asked for again");
  evictions.left("h0.1");
  CHECK(asked.ends == 1);
}
