#include "pmake/build.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <utility>

#include "base/processors.h"
#include "cli/client.h"
#include "cli/say.h"
#include "pmake/bmake.h"
#include "pmake/gnu_make.h"
#include "pmake/packed_rules.h"
#include "pmake/recipe.h"
#include "pmake/signals.h"
#include "pmake/stand.h"

namespace hob::pmake {
namespace {

/// How often make's use of its tokens is looked at.
constexpr auto kTick = milliseconds(100);
/// A free slot is granted within a millisecond. Without waiting for that the first recipes would
/// stay at home.
constexpr auto kFirstSlots = milliseconds(300);
/// ninja has no jobserver before 1.13, and bmake's is its own. Commands that have no slot yet wait
/// in a shell of ours, which costs a sleeping process.
constexpr unsigned kWaitingJobs = 128;
/// A standing build without compilers ends. Configuring and linking last longer than that, but a
/// new one is there within 10 ms.
constexpr auto kLinger = seconds(3);

Schedule::Limits limits_of(const Options& options) {
  // One processor is make's own, and the user's, who sits here.
  const uint32_t local =
      options.local_given ? options.local : std::max(1u, usable_processors() - 1);
  return {options.most == 0 ? local : std::min(local, options.most), options.most,
          options.export_ok};
}

std::string host_name() {
  char name[256] = "";
  return ::gethostname(name, sizeof name - 1) == 0 ? name : "home";
}

}  // namespace

Build::Build(EventLoop& loop, Tool tool, Options options, Rules rules, std::string shell)
    : loop_(loop),
      tool_(tool),
      options_(std::move(options)),
      rules_(std::move(rules)),
      shell_(std::move(shell)),
      home_(host_name()),
      schedule_(limits_of(options_)),
      timeline_(home_) {}

Build::~Build() {
  listener_.reset();
  door_.reset();
  if (directory_.empty()) return;
  ::unlink((directory_ + "/socket").c_str());
  if (tool_ == Tool::launcher) return;  // its lock is there as long as others may wait for it
  ::unlink((directory_ + (tool_ == Tool::bmake ? "/sys.mk" : "/pmake.mk")).c_str());
  ::rmdir(directory_.c_str());
}

Result<std::unique_ptr<Build>> Build::create(EventLoop& loop, Tool tool, Options options,
                                             Rules rules, std::string shell) {
  std::unique_ptr<Build> build(
      new Build(loop, tool, std::move(options), std::move(rules), std::move(shell)));
  TRY(build->prepare());
  return build;
}

Result<void> Build::prepare() {
  TRY(tool_ == Tool::launcher ? prepare_stand() : prepare_directory());
  listener_ =
      TRY(wire::StreamListener::create(loop_, directory_ + "/socket", 0600,
                                       [this](Fd socket) { on_connection(std::move(socket)); }));
  if (tool_ != Tool::launcher)
    door_ = TRY(wire::StreamListener::create(loop_, directory_ + "/socket.door", 0600,
                                             [this](Fd socket) { on_visitor(std::move(socket)); }));
  jobserver_ = TRY(Jobserver::create(loop_));
  std::vector<int> heard = {SIGINT, SIGQUIT, SIGTERM, SIGHUP};
  if (tool_ != Tool::launcher && !ignores(SIGTSTP)) heard.insert(heard.end(), {SIGTSTP, SIGCONT});
  signals_ = TRY(loop_.on_signals_from(
      heard, [this](int signal, bool from_kernel) { on_signal(signal, from_kernel); }));
  return {};
}

Result<void> Build::prepare_stand() {
  const std::string directory = TRY(stand_directory());
  stand_lock_ = TRY(stand_lock(directory));
  directory_ = directory;
  return {};
}

Result<void> Build::prepare_directory() {
  std::string name = runtime_directory().value_or("/tmp") + "/pmake-XXXXXX";
  if (::mkdtemp(name.data()) == nullptr) return Error::sys("make", name);
  directory_ = name;
  if (tool_ == Tool::bmake)
    return replace_file(directory_ + "/sys.mk",
                        TRY(system_makefile(shell_, cli::from_environment("MAKESYSPATH"))), 0600);
  return replace_file(directory_ + "/pmake.mk", makefile(shell_), 0600);
}

// ---------------------------------------------------------------------------------- the tool

std::vector<std::string> Build::tool_arguments() const {
  std::vector<std::string> words;
  if (tool_ == Tool::make) {
    const std::string make = cli::from_environment("PMAKE_MAKE");
    words = {make.empty() ? "make" : make};
  } else {
    words = {std::string(name_of(tool_)),
             fmt::format("-j{}", options_.most != 0 ? options_.most : kWaitingJobs)};
  }
  words.insert(words.end(), options_.passed_on.begin(), options_.passed_on.end());
  return words;
}

void Build::set_environment() const {
  const auto set = [](const char* name, const std::string& value) {
    ::setenv(name, value.c_str(), 1);
  };
  set(kSocketVariable, directory_ + "/socket");
  set(kRulesVariable, pack(rules_));
  ::unsetenv(kShellVariable);  // of a build around this one
  if (tool_ == Tool::ninja) {
    set("REMOTE_NINJA_SHELL", shell_);
    const std::string before = cli::from_environment("LD_PRELOAD");
    set("REMOTE_NINJA_PRELOAD", before);
    const std::string shim = shell_.substr(0, shell_.rfind('/')) + "/ninja-shell.so";
    set("LD_PRELOAD", shim + (before.empty() ? "" : ":" + before));
    return;
  }
  if (tool_ == Tool::bmake) {
    set("MAKESYSPATH", system_path(directory_, cli::from_environment("MAKESYSPATH")));
    return set(kScriptsVariable, "1");
  }
  const std::string before = cli::from_environment("MAKEFILES");
  set("MAKEFILES", directory_ + "/pmake.mk" + (before.empty() ? "" : " " + before));
  set("MAKEFLAGS", make_flags(cli::from_environment("MAKEFLAGS"), jobserver_->auth(),
                              !options_.output_sync_given));
}

Result<void> Build::start_tool() {
  const std::vector<std::string> words = tool_arguments();
  const pid_t pid = ::fork();
  if (pid < 0) return Error::sys("start", words[0]);
  if (pid == 0) {
    sigset_t none;
    ::sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
    set_environment();
    std::vector<char*> pointers;
    for (const std::string& word : words) pointers.push_back(const_cast<char*>(word.c_str()));
    pointers.push_back(nullptr);
    ::execvp(pointers[0], pointers.data());
    cli::say(Error::sys("run", words[0], errno, "is it installed?").text);
    ::_exit(127);
  }
  tool_pid_ = pid;
  child_ = TRY(loop_.on_child_exit(pid, [this](int status) {
    status_ = status;
    loop_.stop();
  }));
  return {};
}

Result<int> Build::run() {
  began_ = Clock::now();
  answer_limit_ = loop_.after(kFirstSlots, [this] { go_on(); });
  if (options_.export_ok)
    connect_hostd();
  else
    go_on();
  settle();
  if (tool_ == Tool::launcher) {
    status_ = 0;
    linger();
  } else {
    TRY(start_tool());
  }
  tick_ = loop_.every(kTick, [this] {
    want();
    show_watch();
  });
  loop_.run();
  ended_ = Clock::now();
  if (!watch_said_.empty()) cli::say_over("");
  for (const auto& [number, line] : std::map(by_number_)) timeline_.end(number, now());
  return *status_;
}

// ---------------------------------------------------------------------------------- recipes

Build::LinePtr Build::find(uint64_t number) const {
  auto it = by_number_.find(number);
  return it == by_number_.end() ? nullptr : it->second;
}

void Build::on_connection(Fd socket) {
  auto who = wire::peer_identity(socket.get());
  if (!who.ok() || who->uid != ::geteuid()) return;
  auto line = std::make_shared<Line>();
  line->pid = who->pid;
  std::weak_ptr<Line> weak = line;
  auto channel = wire::StreamChannel::create(loop_, std::move(socket),
                                             {[this, weak](wire::Message message) {
                                                if (LinePtr l = weak.lock())
                                                  on_recipe(l, message.envelope);
                                              },
                                              [this, weak](const Error&) {
                                                if (LinePtr l = weak.lock()) on_line_closed(l);
                                              }});
  if (!channel.ok()) return;  // its shell runs the recipe at home
  line->channel = std::move(channel).value();
  lines_[line.get()] = line;
  linger_.reset();
}

void Build::on_recipe(const LinePtr& line, const pb::Envelope& request) {
  if (!request.has_recipe()) return;
  const pb::Recipe& recipe = request.recipe();
  if (recipe.here()) return timeline_.count_cheap();
  line->request = request.request();
  if (recipe.refused() != 0 && line->number != 0) {
    schedule_.refused(line->number);
  } else if (!recipe.lost().empty() && line->number != 0) {
    timeline_.lose(line->number, recipe.lost(), now());
    line->may_leave = false;
    schedule_.lost(line->number);
  } else {
    line->number = ++last_recipe_;
    line->target = recipe.target();
    line->command = recipe.command();
    line->why_home = recipe.why();
    line->may_leave = recipe.why().empty();
    by_number_[line->number] = line;
    schedule_.ask(line->number, line->may_leave);
  }
  settle();
}

void Build::place(const Schedule::Placed& placed) {
  LinePtr line = find(placed.recipe);
  if (!line) return;
  line->placed = true;
  if (placed.lease == 0) {
    watch_process(line);
    begin(*line, timeline_.home(), line->may_leave ? "no host was free" : line->why_home);
  }
  if (line->visitor && placed.lease != 0) return send_away(line, placed.lease);
  if (line->visitor) return line->visitor->tell(door::Kind::here);
  pb::Envelope asked, answer;
  asked.set_request(line->request);
  answer.mutable_place()->set_recipe(line->number);
  answer.mutable_place()->set_lease(placed.lease);
  line->channel->answer(asked, std::move(answer));
}

/// Its shell becomes the recipe's own process; nothing else tells when that has ended.
void Build::watch_process(const LinePtr& line) {
  line->process = Fd(static_cast<int>(::syscall(SYS_pidfd_open, line->pid, 0)));
  if (!line->process) return;
  auto watch =
      loop_.watch(line->process.get(), EPOLLIN, [this, weak = std::weak_ptr<Line>(line)](uint32_t) {
        if (LinePtr l = weak.lock()) end_line(l);
      });
  if (watch.ok()) line->process_watch = std::move(watch).value();
}

/// Once: what was lost and runs again is in the timeline already.
void Build::begin(Line& line, const std::string& host, const std::string& why_home) {
  if (!std::exchange(line.begun, true))
    timeline_.begin(line.number, line.target, line.command, host, why_home, now());
}

void Build::on_line_closed(const LinePtr& line) {
  if (line->process_watch) return;  // it runs at home, and its process says when it has ended
  end_line(line);
}

void Build::end_recipe(Line& line) {
  const LinePtr kept = find(line.number);
  if (!kept) return;
  if (line.placed) begin(line, timeline_.home(), "it ended before it was seen");
  timeline_.end(line.number, now());
  schedule_.end(line.number);
  by_number_.erase(line.number);
}

void Build::end_line(const LinePtr& line) {
  end_recipe(*line);
  loop_.defer([this, line] {
    lines_.erase(line.get());
    linger();
  });
  settle();
}

// ---------------------------------------------------------------------------------- everything

void Build::settle() {
  if (std::exchange(settling_, true)) return;
  loop_.defer([this] {
    settling_ = false;
    for (const Schedule::Decision& decision :
         answered_ ? schedule_.decide(Clock::now()) : std::vector<Schedule::Decision>()) {
      if (const auto* placed = std::get_if<Schedule::Placed>(&decision))
        place(*placed);
      else
        order(std::get<Schedule::SendOut>(decision));
    }
    jobserver_->set(schedule_.parallelism() - 1);
    want();
    if (const auto next = schedule_.next(Clock::now()))
      next_ = loop_.at(*next, [this] { settle(); });
    else
      next_.reset();
  });
}

void Build::linger() {
  if (tool_ != Tool::launcher || !lines_.empty()) return;
  linger_ = loop_.after(kLinger, [this] { loop_.stop(); });
}

uint32_t Build::idle_tokens() const {
  if (tool_ == Tool::make) return jobserver_->idle();
  return schedule_.waiting() > 0 ? 0 : 1;  // these know no tokens, and ask for all they have
}

void Build::show_watch() {
  if (!options_.watch || ::isatty(STDERR_FILENO) != 1) return;
  winsize size{};
  const bool known = ::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
  const std::string line = watch_line(timeline_, known ? size.ws_col - 1u : 79u);
  if (line != watch_said_) cli::say_over(line);
  watch_said_ = line;
}

}  // namespace hob::pmake
