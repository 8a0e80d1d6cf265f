#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <optional>

#include "bench/mover.h"
#include "bench/room.h"
#include "migrate/proc.h"

namespace hob::bench {
namespace {

constexpr char kMaxPipe[] = "/proc/sys/fs/pipe-max-size";

/// Lazy pages wait in pipes at the source; where the limit is below what CRIU asks for (3.2 MiB per
/// pipe) it makes do with four times as many, and is slower.
class LargerPipes {
 public:
  LargerPipes() {
    if (auto now = read_file(kMaxPipe); now && std::stoul(*now) < kWanted)
      if (write_control(kMaxPipe, std::to_string(kWanted))) before_ = *now;
  }
  ~LargerPipes() {
    if (!before_.empty() && !write_control(kMaxPipe, before_))
      std::fprintf(stderr, "put %s back by hand: it was %s", kMaxPipe, before_.c_str());
  }
  LargerPipes(const LargerPipes&) = delete;
  LargerPipes& operator=(const LargerPipes&) = delete;

 private:
  static constexpr unsigned long kWanted = 4u << 20;
  std::string before_;
};

class Criu final : public Mover {
 public:
  Criu(std::string binary, CriuWay way, std::string directory)
      : binary_(std::move(binary)), way_(way), directory_(std::move(directory)) {}
  ~Criu() override { std::filesystem::remove_all(directory_); }

  Result<void> start(const std::vector<std::string>& arguments) override {
    here_.emplace(TRY(Room::open()));
    return here_->launch(arguments);
  }

  Result<uint64_t> move() override {
    program_ = std::to_string(TRY(migrate::proc::status({pid()})).inside.back());
    Room there = TRY(Room::open());
    std::filesystem::remove_all(directory_);
    TRY(make_directories(directory_));
    const auto done = way_ == CriuWay::dump_restore ? dump_and_restore(there) : lazily(there);
    if (!done) return Error(done.error()).in(last_words());
    here_.emplace(std::move(there));
    return *done;
  }

  pid_t pid() override {
    const auto all = here_->inhabitants();
    return all.empty() ? 0 : all.front();
  }

 private:
  std::vector<std::string> command(const char* what, std::initializer_list<std::string> more) {
    std::vector<std::string> all = {binary_, what,
                                    "-D",    directory_,
                                    "-o",    std::string(what) + ".log",
                                    "-v1",   "--manage-cgroups=ignore"};
    all.insert(all.end(), more);
    return all;
  }

  Result<uint64_t> dump_and_restore(const Room& there) {
    TRY(here_->run(command("dump", {"-t", program_})));
    TRY(there.run(command("restore", {"-d"})));
    return wall_ns();
  }

  Result<uint64_t> lazily(const Room& there) {
    const LargerPipes pipes;
    const std::string port = std::to_string(20000 + ::getpid() % 10000);
    Pipe status = TRY(make_pipe());
    const pid_t dump = TRY(here_->begin(
        command("dump", {"-t", program_, "--lazy-pages", "--address", "127.0.0.1", "--port", port,
                         "--status-fd", std::to_string(status.write_end.get())}),
        status.write_end.get()));
    status.write_end.reset();
    char ready;
    if (::read(status.read_end.get(), &ready, 1) != 1) {
      TRY(await_success(dump, "criu dump"));
      return Error{"criu dump --lazy-pages: it did not become ready", EPROTO};
    }
    const pid_t pages = TRY(there.begin(
        command("lazy-pages", {"--page-server", "--address", "127.0.0.1", "--port", port})));
    TRY(wait_for_socket());
    TRY(there.run(command("restore", {"-d", "--lazy-pages"})));
    TRY(await_success(pages, "criu lazy-pages"));
    const uint64_t done = wall_ns();
    TRY(await_success(dump, "criu dump"));
    return done;
  }

  Result<void> wait_for_socket() {
    const std::string name = directory_ + "/lazy-pages.socket";
    for (int i = 0; i < 50000; i++) {
      if (::access(name.c_str(), F_OK) == 0) return {};
      ::usleep(100);
    }
    return Error{"criu lazy-pages: it did not listen", ETIMEDOUT};
  }

  // The end of what it has written down, for people.
  std::string last_words() {
    std::string all;
    for (const char* log : {"/dump.log", "/lazy-pages.log", "/restore.log"})
      if (auto text = read_file(directory_ + log); text && !text->empty()) {
        const size_t from = text->size() > 300 ? text->find('\n', text->size() - 300) : 0;
        all += text->substr(from == std::string::npos ? 0 : from);
      }
    return "criu: " + all;
  }

  std::string binary_;
  CriuWay way_;
  std::string directory_;
  std::string program_;  ///< its pid as it sees itself
  std::optional<Room> here_;
};

}  // namespace

std::unique_ptr<Mover> make_criu(const std::string& binary, CriuWay way,
                                 const std::string& directory) {
  return std::make_unique<Criu>(binary, way, directory);
}

}  // namespace hob::bench
