// bench_select ROUNDS: how long one grant and its return take at the coordinator, as a host of the
// cell (its hostd must be stopped: this speaks in its place, with its key).
//
// Prints "select_release_ms" and "select_release_ms_p95". A Release is not answered; the
// coordinator does it before the Select that follows, whose answer we wait for, so a round is from
// answer to answer.
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <optional>

#include "base/event_loop.h"
#include "bench/samples.h"
#include "config/config.h"
#include "migrate/cpu_features.h"
#include "wire/zmq.h"

namespace hob::bench {
namespace {

/// A request and its final answer; Queued comes before it and does not count.
Result<wire::Message> ask(EventLoop& loop, wire::Client& client, pb::Envelope envelope) {
  std::optional<wire::Message> answer;
  client.request({std::move(envelope), {}}, seconds(5),
                 [&](wire::Message message) { answer = std::move(message); });
  while (!answer) loop.run_once(seconds(1));
  if (answer->envelope.has_failure()) return Error{answer->envelope.failure().text()};
  return std::move(*answer);
}

Result<void> run(size_t rounds) {
  const HostdConfig config = TRY(load_hostd_config("/etc/hob/hostd.toml"));
  const wire::Key secret = TRY(wire::read_secret_key(config.host_key));
  const wire::KeyPair own{TRY(wire::public_key_of(secret)), secret};
  const auto loop = TRY(EventLoop::create());
  const auto context =
      TRY(wire::Context::create(*loop, [](const wire::Key&) { return std::string(); }));
  const auto client = TRY(wire::Client::connect(
      *context, config.cell_coordinator, TRY(wire::key_from_text(config.cell_coordinator_key)), own,
      [](wire::Message) {}));

  pb::Envelope hello;
  hello.mutable_hello()->set_endpoint("tcp://" + config.host_address + ":" +
                                      std::to_string(config.host_port));
  pb::HostReport& report = *hello.mutable_hello()->mutable_report();
  report.set_state(pb::HOST_REFUSES);
  report.set_reason("bench_select speaks for it");
  report.set_cpu_features(migrate::join(migrate::cpu_features()));
  report.mutable_import()->set_kind(pb::Policy::NONE);
  report.mutable_export_()->set_kind(pb::Policy::ALL);
  TRY(ask(*loop, *client, std::move(hello)));

  Samples samples;
  const size_t warm_up = 10;
  Time last = Clock::now();
  for (size_t round = 0; round < warm_up + rounds; ++round) {
    pb::Envelope select;
    select.mutable_select()->set_user("bench");
    select.mutable_select()->set_no_wait(true);
    const wire::Message granted = TRY(ask(*loop, *client, std::move(select)));
    if (!granted.envelope.has_granted())
      return Error{"the coordinator answered Select with something else than Granted"};
    pb::Envelope release;
    release.mutable_release()->set_lease(granted.envelope.granted().lease());
    TRY(client->send({std::move(release), {}}));
    const Time now = Clock::now();
    if (round >= warm_up) samples.add(now - last);
    last = now;
  }
  std::printf("select_release_ms %.3f\nselect_release_ms_p95 %.3f\n", samples.median_ms(),
              samples.percentile_ms(95));
  return {};
}

}  // namespace
}  // namespace hob::bench

int main(int argc, char** argv) {
  const long rounds = argc == 2 ? std::strtol(argv[1], nullptr, 10) : 0;
  if (rounds <= 0) {
    std::fprintf(stderr, "bench_select: how many rounds?\n");
    return 2;
  }
  const auto done = hob::bench::run(static_cast<size_t>(rounds));
  if (done.ok()) return 0;
  std::fprintf(stderr, "bench_select: %s\n", done.error().text.c_str());
  return 1;
}
