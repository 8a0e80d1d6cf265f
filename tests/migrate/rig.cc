#include "rig.h"

#include "migrate/checkpoint.h"

#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <sstream>

#include "migrate/checkpoint.h"
#include "migrate/program.h"
#include "migrate/sandbox.h"

namespace hob::test {

using namespace migrate;

migrate::Credentials nobody() {
  return {65534, 65534, {65534}};
}

std::string victim(const std::string& name) {
  return std::string(HOB_VICTIMS) + "/" + name;
}

Home& Home::get() {
  static Home* home = [] {
    void* at =
        ::mmap(nullptr, sizeof(Home), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(at != MAP_FAILED);
    return new (at) Home;
  }();
  return *home;
}
void Home::reset() {
  *this = Home();
}

namespace {

constexpr LinkKey kKey = {1, 2, 3, 4, 5, 6, 7, 8, 9};

// ---- inside the starter process

class Starter : public SourceHooks, public TargetHooks {
 public:
  Starter(Fd socket, int collector, std::string cgroup)
      : socket_(std::move(socket)), collector_(collector), cgroup_(std::move(cgroup)) {}

  int run() {
    auto sandbox = Sandbox::create(cgroup_);
    if (!sandbox) return fail(sandbox.error());
    sandbox_.emplace(std::move(*sandbox));
    auto furnished = sandbox_->furnish("victim", {seconds(5000), seconds(5000)});
    if (!furnished) return fail(furnished.error());
    say("up");
    for (;;) {
      pollfd polled[4] = {{socket_.get(), POLLIN, 0},
                          {streams_[1].get(), POLLIN, 0},
                          {streams_[2].get(), POLLIN, 0},
                          {arrival_ && !finished_ ? arrival_->done_fd() : -1, POLLIN, 0}};
      ::poll(polled, 4, 20);
      if (polled[1].revents) pump(1);
      if (polled[2].revents) pump(2);
      if (polled[3].revents) finish_arrival();
      if (polled[0].revents && !command()) return 0;
      look_for_exit();
    }
  }

  std::string frozen() override {
    while (pump(1)) {
    }
    while (pump(2)) {
    }
    return "drained";
  }
  bool settle() override {
    // The record at home: has somebody else become the live copy? If not, nobody will any more.
    Home& home = Home::get();
    if (home.live == attempt_target_) return true;
    home.refused_attempt = attempt_target_;
    return false;
  }
  Result<void> attached(const std::string& bytes) override {
    if (bytes != "drained") return Error{"the hook's bytes were changed"};
    return {};
  }
  Result<void> commit() override {
    Home& home = Home::get();
    if (home.refused_attempt == ::getpid()) return Error{"home: this attempt was given up"};
    home.live = ::getpid();
    return {};
  }

 private:
  int fail(const Error& error) {
    say("error " + error.text);
    return 1;
  }
  void say(std::string line) {
    line += "\n";
    if (::write(socket_.get(), line.data(), line.size()) < 0) ::_exit(1);
  }
  bool pump(int stream) {
    if (!streams_[stream]) return false;
    char buffer[65536];
    const ssize_t n = ::read(streams_[stream].get(), buffer, sizeof buffer);
    if (n <= 0) {
      if (n == 0 || (errno != EAGAIN && errno != EINTR)) streams_[stream].reset();
      return false;
    }
    for (ssize_t at = 0; at < n;)
      at += std::max<ssize_t>(0, ::write(collector_, buffer + at, static_cast<size_t>(n - at)));
    return true;
  }

  void make_streams(Stdio& guest, bool terminal) {
    guest_.externals.clear();
    if (terminal) {
      int master, slave;
      master = sandbox_->open_terminal().value().release();
      int unlocked = 0;
      CHECK(::ioctl(master, TIOCSPTLCK, &unlocked) == 0);
      CHECK((slave = ::ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY)) >= 0);
      CHECK(::fchown(slave, nobody().uid, static_cast<gid_t>(-1)) == 0);
      streams_[1].reset(master);
      guest.in.reset(slave);
      guest.out.reset(::dup(slave));
      guest.err.reset(::dup(slave));
      guest_.externals.push_back({External::Kind::terminal, master, slave});
      input_ = master;
      return;
    }
    Pipe in = make_pipe().value(), out = make_pipe().value(), err = make_pipe().value();
    streams_[0] = std::move(in.write_end);
    streams_[1] = std::move(out.read_end);
    streams_[2] = std::move(err.read_end);
    for (Fd& s : streams_) ::fcntl(s.get(), F_SETFL, O_NONBLOCK);
    guest = {std::move(in.read_end), std::move(out.write_end), std::move(err.write_end)};
    guest_.externals = {{External::Kind::input, streams_[0].get(), guest.in.get()},
                        {External::Kind::output, streams_[1].get(), guest.out.get()},
                        {External::Kind::errors, streams_[2].get(), guest.err.get()}};
    input_ = streams_[0].get();
  }

  bool command() {
    std::string line;
    char c;
    while (::read(socket_.get(), &c, 1) == 1 && c != '\n') line += c;
    if (line.empty()) return false;
    std::istringstream in(line);
    std::string what;
    in >> what;
    if (what == "start") start(in);
    if (what == "listen") listen(in);
    if (what == "send") return send(in);
    if (what == "record") record(in);
    if (what == "restart") restart(in);
    if (what == "input") {
      size_t n;
      in >> n;
      std::string bytes(n, 0);
      for (size_t at = 0; at < n;)
        at += static_cast<size_t>(std::max<ssize_t>(0, ::read(socket_.get(), &bytes[at], n - at)));
      if (::write(input_, bytes.data(), n) < 0) say("error input");
    }
    if (what == "arm") {
      int where, act;
      in >> where >> act;
      fault::arm(static_cast<Fault>(where), static_cast<fault::Act>(act));
    }
    if (what == "guests") {
      std::string text = "guests";
      const std::vector<pid_t> pids = sandbox_->cgroup().processes().value();
      for (pid_t pid : pids)
        if (pid != sandbox_->init()) text += " " + std::to_string(pid);
      say(text);
    }
    return what != "quit";
  }

  void start(std::istringstream& in) {
    Program program;
    bool terminal;
    size_t n;
    in >> terminal >> n;
    in.get();
    for (size_t i = 0; i < n; i++) {
      std::string argument;
      std::getline(in, argument, '\x01');
      std::replace(argument.begin(), argument.end(), '\x02', '\n');
      program.arguments.push_back(argument);
    }
    program.environment = {"PATH=/usr/local/bin:/usr/bin:/bin", "HOME=/", "LANG=C"};
    program.directory = "/tmp";
    program.user = nobody();
    program.terminal = terminal;
    // A guest yields to everything; on a busy machine the tests would never end.
    program.foreign = false;
    Stdio stdio;
    make_streams(stdio, terminal);
    auto pid = migrate::start(*sandbox_, program, std::move(stdio));
    if (!pid) return say("error " + pid.error().text);
    guest_.root = *pid;
    guest_.sandbox = &*sandbox_;
    guest_.user = program.user;
    say("started");
  }

  void listen(std::istringstream& in) {
    bool terminal, own_network;
    uint16_t taken;
    in >> terminal >> own_network >> taken >> guest_.lowest_priority;
    auto listener = Listener::open("127.0.0.1", kKey);
    if (!listener) return say("error " + listener.error().text);
    if (own_network) leave_network(taken);
    say("port " + std::to_string(listener->port()));
    Stdio stdio;
    make_streams(stdio, terminal);
    guest_.sandbox = &*sandbox_;
    guest_.user = nobody();
    guest_.page_directory = "/tmp";
    auto arrival = Arrival::receive(std::move(*listener), guest_, *this, seconds(5));
    if (!arrival) return say("error " + arrival.error().text);
    arrival_.emplace(std::move(*arrival));
    finished_ = false;
    say("received");
  }

  /// What is open already stays in the old one: the listener for the source.
  void leave_network(uint16_t taken) {
    CHECK(::unshare(CLONE_NEWNET) == 0);
    ifreq loopback{};
    std::strcpy(loopback.ifr_name, "lo");
    loopback.ifr_flags = IFF_UP;
    const Fd any(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    CHECK(::ioctl(any.get(), SIOCSIFFLAGS, &loopback) == 0);
    if (taken == 0) return;
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(taken);
    neighbour_.reset(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    CHECK(::bind(neighbour_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
    CHECK(::listen(neighbour_.get(), 1) == 0);
  }

  /// Everything but the sandbox is as if the guest had just been started.
  void restart(std::istringstream& in) {
    std::string path;
    in >> path;
    Stdio stdio;
    make_streams(stdio, false);
    guest_.sandbox = &*sandbox_;
    guest_.user = nobody();
    auto restarted = [&]() -> Result<void> {
      const auto file = TRY(CheckpointFile::read(TRY(open_file(path, O_RDONLY))));
      arrival_.emplace(TRY(Arrival::restart(file, guest_, *this, seconds(5))));
      return {};
    }();
    finished_ = !arrival_;
    say(restarted ? "restarted" : "error " + restarted.error().text);
  }

  void record(std::istringstream& in) {
    std::string path;
    in >> path;
    auto listener = Listener::open("127.0.0.1", kKey);
    if (!listener) return say("error " + listener.error().text);
    say("port " + std::to_string(listener->port()));
    auto file = open_file(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    if (!file) return say("error " + file.error().text);
    auto recorded = record_checkpoint(std::move(*listener), std::move(*file), seconds(5));
    say(recorded ? "recorded" : "error " + recorded.error().text);
  }

  void finish_arrival() {
    auto report = arrival_->finish();
    finished_ = true;
    if (!report) return say("error " + report.error().text);
    Home& home = Home::get();
    home.push_ns = report->push.count();
    home.complete_ns = wall_ns();
    home.arrivals++;
  }

  bool send(std::istringstream& in) {
    uint16_t port;
    int target;
    std::string strategy;
    SendOptions options;
    int64_t patience;
    in >> port >> target >> strategy >> options.copy >> options.compare_pages >> patience;
    options.patience = Duration(patience);
    options.strategy = migrate::strategy_named(strategy).value();
    attempt_target_ = target;
    if (arrival_ && !finished_) arrival_->hurry();
    while (arrival_ && !finished_) {
      pollfd p{arrival_->done_fd(), POLLIN, 0};
      if (::poll(&p, 1, 5000) == 1) finish_arrival();
    }
    auto sent = migrate::send(guest_, "127.0.0.1", port, kKey, *this, options);
    if (!sent) {
      say("error " + sent.error().text);
      return true;
    }
    if (sent->saved) {
      say("saved");
      return true;
    }
    if (!sent->moved) {
      std::string text = "stayed";
      for (const Obstacle& o : sent->obstacles) text += " " + o.text + ";";
      say(text);
      return true;
    }
    if (!sent->lost.empty()) {
      say("error lost: " + sent->lost);
      return true;
    }
    guest_.root = 0;
    say("moved " + std::to_string(to_milliseconds(sent->report.freeze)) + " " +
        std::to_string(sent->report.pages_moved) + " " + std::to_string(sent->report.wire_bytes) +
        " " + std::to_string(sent->report.rounds));
    return true;
  }

  void look_for_exit() {
    if (!guest_.root) return;
    int status;
    if (::waitpid(guest_.root, &status, WNOHANG) != guest_.root) return;
    guest_.root = 0;
    frozen();
    say("exit " + std::to_string(status));
  }

  Fd socket_, neighbour_;
  int collector_, input_ = -1, attempt_target_ = -1;
  std::string cgroup_;
  std::optional<Sandbox> sandbox_;
  Guest guest_;
  Fd streams_[3];
  std::optional<Arrival> arrival_;
  bool finished_ = true;
};

}  // namespace

// ---- in the test

Host::Host(int collector) {
  static int count = 0;
  Home::get();
  // A test that was killed leaves its group, and process ids come again.
  static const std::string own = "/hob-engine/t" + std::to_string(::getpid()) + "-" +
                                 std::to_string(Clock::now().time_since_epoch().count());
  cgroup_ = own + "." + std::to_string(count++);
  int ends[2];
  CHECK(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
  pid_ = ::fork();
  CHECK(pid_ >= 0);
  if (pid_ == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    ::signal(SIGPIPE, SIG_IGN);
    ::setsid();  // as hostd starts them: autogroups weigh sessions (sched(7))
    // Only what the starter needs: an inherited socket would keep another starter alive.
    Fd socket(ends[1]);
    for (int fd = 3; fd < 256; fd++)
      if (fd != ends[1] && fd != collector) ::close(fd);
    int code;
    {
      Starter starter(std::move(socket), collector, cgroup_);
      code = starter.run();
    }
    ::_exit(code);
  }
  ::close(ends[1]);
  socket_.reset(ends[0]);
  const std::string up = hear();
  if (up != "up") std::fprintf(stderr, "starter: %s\n", up.c_str());
}

Host::~Host() {
  if (!socket_) return;
  tell("quit");
  for (int i = 0; i < 500 && alive(); i++) ::usleep(10000);
  kill();
  remove_group();
}

// A starter that was killed leaves its sandbox behind; the next test process may have this one's
// pid.
void Host::remove_group() {
  for (int i = 0; i < 500; i++) {
    auto group = Cgroup::open(cgroup_);
    if (!group) return;
    group->kill().ok();  // again and again: until all have ended
    if (!group->populated() && group->remove()) return;
    ::usleep(10000);
  }
  std::fprintf(stderr, "cgroup %s is left behind: it cannot be emptied\n", cgroup_.c_str());
}

bool Host::alive() const {
  return ::waitpid(pid_, nullptr, WNOHANG) == 0;
}

void Host::kill() {
  ::kill(pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
}

void Host::tell(const std::string& line) {
  const std::string all = line + "\n";
  if (::send(socket_.get(), all.data(), all.size(), MSG_NOSIGNAL) < 0 && errno != EPIPE)
    CHECK(false);
}

std::string Host::hear(int milliseconds) {
  for (;;) {
    const size_t end = buffer_.find('\n');
    if (end != std::string::npos) {
      std::string line = buffer_.substr(0, end);
      buffer_.erase(0, end + 1);
      return line;
    }
    pollfd p{socket_.get(), POLLIN, 0};
    if (::poll(&p, 1, milliseconds) <= 0) return "error no answer";
    char buffer[4096];
    const ssize_t n = ::read(socket_.get(), buffer, sizeof buffer);
    if (n <= 0) return "error dead";
    buffer_.append(buffer, static_cast<size_t>(n));
  }
}

static Result<void> expect(const std::string& got, const std::string& wanted) {
  if (got == wanted) return {};
  return Error{got};
}

Result<void> Host::start(const std::vector<std::string>& arguments, bool terminal) {
  std::string line =
      "start " + std::to_string(terminal) + " " + std::to_string(arguments.size()) + " ";
  for (std::string a : arguments) {
    std::replace(a.begin(), a.end(), '\n', '\x02');  // commands are lines
    line += a + '\x01';
  }
  tell(line);
  Home::get().live = pid_;
  return expect(hear(), "started");
}

Result<uint16_t> Host::listen(const Arrival& arrival) {
  tell("listen " + std::to_string(arrival.terminal) + " " + std::to_string(arrival.own_network) +
       " " + std::to_string(arrival.taken) + " " + std::to_string(arrival.foreign));
  const std::string line = hear();
  if (line.compare(0, 5, "port ") != 0) return Error{line};
  return static_cast<uint16_t>(std::stoi(line.substr(5)));
}

Result<void> Host::received() {
  return expect(hear(), "received");
}

void Host::begin_send(uint16_t port, const Host& target, const migrate::SendOptions& options) {
  tell("send " + std::to_string(port) + " " + std::to_string(target.pid_) + " " +
       std::string(name_of(options.strategy)) + " " + std::to_string(options.copy) + " " +
       std::to_string(options.compare_pages) + " " + std::to_string(options.patience.count()));
}

Result<uint16_t> Host::record(const std::string& path) {
  tell("record " + path);
  const std::string line = hear();
  if (line.compare(0, 5, "port ") != 0) return Error{line};
  return static_cast<uint16_t>(std::stoi(line.substr(5)));
}

Result<void> Host::recorded() {
  return expect(hear(), "recorded");
}

Result<void> Host::restart(const std::string& path) {
  Home::get().live = pid_;
  tell("restart " + path);
  return expect(hear(), "restarted");
}

Host::Outcome Host::send(uint16_t port, const Host& target, const migrate::SendOptions& options) {
  begin_send(port, target, options);
  return end_send();
}

Host::Outcome Host::end_send() {
  Outcome outcome;
  const std::string line = hear(60000);
  if (line.compare(0, 6, "moved ") == 0) {
    outcome.moved = true;
    std::istringstream(line.substr(6)) >> outcome.freeze_ms >> outcome.pages >>
        outcome.wire_bytes >> outcome.rounds;
  } else {
    outcome.text = line;
  }
  return outcome;
}

void Host::arm(Fault where, fault::Act act) {
  tell("arm " + std::to_string(static_cast<int>(where)) + " " +
       std::to_string(static_cast<int>(act)));
}

void Host::freeze() {
  CHECK(Cgroup::open(cgroup_).value().freeze().ok());
}

void Host::thaw() {
  CHECK(Cgroup::open(cgroup_).value().thaw().ok());
}

bool Host::frozen() {
  auto cgroup = Cgroup::open(cgroup_).value();
  return cgroup.freezing().value() && cgroup.wait_frozen(seconds(2)).ok();
}

void Host::write_input(const std::string& bytes) {
  tell("input " + std::to_string(bytes.size()));
  CHECK(::send(socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL) >= 0);
}

std::optional<int> Host::wait_exit(int milliseconds) {
  std::string line;
  if (unasked_.empty()) {
    line = hear(milliseconds);
  } else {
    line = unasked_.front();
    unasked_.erase(unasked_.begin());
  }
  if (line.compare(0, 5, "exit ") != 0) {
    std::fprintf(stderr, "instead of the exit: %s\n", line.c_str());
    return std::nullopt;
  }
  return std::stoi(line.substr(5));
}

std::vector<pid_t> Host::guests() {
  tell("guests");
  std::string line = hear();
  while (line.compare(0, 6, "guests") != 0 && line.compare(0, 9, "error dea") != 0) {
    unasked_.push_back(line);
    line = hear();
  }
  std::istringstream in(line);
  std::string word;
  std::vector<pid_t> all;
  in >> word;
  for (pid_t pid; in >> pid;) all.push_back(pid);
  return all;
}

Collector::Collector() : pipe_(make_pipe().value()) {
  ::fcntl(pipe_.read_end.get(), F_SETFL, O_NONBLOCK);
  ::fcntl(pipe_.write_end.get(), F_SETPIPE_SZ, 1 << 20);
}

const std::string& Collector::drain() {
  char buffer[65536];
  for (ssize_t n; (n = ::read(pipe_.read_end.get(), buffer, sizeof buffer)) > 0;)
    text_.append(buffer, static_cast<size_t>(n));
  return text_;
}

bool Collector::wait_for(const std::string& text, int milliseconds) {
  const Time end = Clock::now() + hob::milliseconds(milliseconds);
  while (drain().find(text) == std::string::npos) {
    if (Clock::now() > end) return false;
    pollfd p{pipe_.read_end.get(), POLLIN, 0};
    ::poll(&p, 1, 50);
  }
  return true;
}

Verdict run_and_move(const std::vector<std::string>& arguments, const Plan& plan) {
  Verdict verdict;
  Home::get().reset();
  Collector collector;
  auto host = std::make_unique<Host>(collector.write_end());
  if (auto started = host->start(arguments, plan.terminal); !started) {
    verdict.problem = started.error().text;
    verdict.moved = false;
    return verdict;
  }
  if (!plan.ready.empty() && !collector.wait_for(plan.ready)) verdict.problem = "not ready";
  std::vector<std::unique_ptr<Host>> left;  // may still have pages
  for (int i = 0; i < plan.moves && verdict.problem.empty(); i++) {
    ::usleep(static_cast<unsigned>(plan.pause_ms) * 1000);
    auto target = std::make_unique<Host>(collector.write_end());
    auto port = target->listen(plan.terminal);
    if (!port) {
      verdict.problem = port.error().text;
      break;
    }
    // Under `demand` the source serves for as long as the guest lives at the target, or until it
    // moves on.
    const bool serves = plan.options.strategy == migrate::Strategy::demand;
    host->begin_send(*port, *target, plan.options);
    Host::Outcome outcome;
    if (!serves) outcome = host->end_send();
    if (outcome.text.compare(0, 6, "stayed") == 0) target->kill();  // nobody comes any more
    auto received = target->received();
    if (serves && !received) outcome = host->end_send();
    if ((!serves && !outcome.moved) || !received) {
      verdict.problem = outcome.text + (received ? "" : " | target: " + received.error().text);
      verdict.moved = false;
      break;
    }
    if (!serves) verdict.freeze_ms.push_back(outcome.freeze_ms);
    left.push_back(std::move(host));
    host = std::move(target);
  }
  if (!plan.input.empty()) host->write_input(plan.input);
  if (auto status = host->wait_exit(60000)) verdict.status = *status;
  verdict.output = collector.drain();
  // The guest has ended, or what is left of it ends now: nobody waits for its pages any more.
  host.reset();
  if (plan.options.strategy == migrate::Strategy::demand)
    for (auto& source : left)
      if (auto outcome = source->end_send(); !outcome.moved && verdict.problem.empty())
        verdict.problem = "source: " + outcome.text;
  return verdict;
}

}  // namespace hob::test
