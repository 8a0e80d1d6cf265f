#include <poll.h>
#include <unistd.h>

#include "bench/mover.h"
#include "tests/migrate/rig.h"

namespace hob::bench {
namespace {

using test::Home;
using test::Host;

class Hob final : public Mover {
 public:
  Result<void> start(const std::vector<std::string>& arguments) override {
    Home::get().reset();
    here_ = std::make_unique<Host>(output_.write_end());
    return here_->start(arguments);
  }

  Result<uint64_t> move() override {
    TRY(move_by(migrate::Strategy::swap_out));
    return Home::get().complete_ns;
  }

  Result<double> stream() override {
    const Host::Outcome outcome = TRY(move_by(migrate::Strategy::freeze_copy));
    return static_cast<double>(outcome.pages) * 4096 / (outcome.freeze_ms * 1e6);
  }

  Duration push() const override { return Duration(Home::get().push_ns); }

  pid_t pid() override {
    const auto all = here_->guests();
    return all.empty() ? 0 : all.front();
  }

 private:
  Result<Host::Outcome> move_by(migrate::Strategy strategy) {
    Home& home = Home::get();
    auto there = std::make_unique<Host>(output_.write_end());
    const uint16_t port = TRY(there->listen());
    const uint32_t before = home.arrivals;
    const Host::Outcome outcome = here_->send(port, *there, {.strategy = strategy});
    if (!outcome.moved) {
      there->kill();
      return Error{"hob: " + outcome.text};
    }
    TRY(there->received());
    for (int i = 0; home.arrivals == before; i++) {
      if (i > 10000) return Error{"hob: the last page did not come", ETIMEDOUT};
      ::usleep(1000);
    }
    here_ = std::move(there);
    return outcome;
  }

  test::Collector output_;
  std::unique_ptr<Host> here_;
};

}  // namespace

std::unique_ptr<Mover> make_hob() {
  return std::make_unique<Hob>();
}

}  // namespace hob::bench
