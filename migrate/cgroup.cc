#include "migrate/cgroup.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sched.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <set>
#include <string_view>

#include "migrate/pinned.h"
#include "migrate/thread_priority.h"

namespace hob::migrate {

namespace {

constexpr char kV1Root[] = "/sys/fs/cgroup/";

bool is_cgroup2(const char* path) {
  struct statfs fs {};
  return ::statfs(path, &fs) == 0 && fs.f_type == CGROUP2_SUPER_MAGIC;
}

/// Reads a small control file, relative to the group's directory.
Result<std::string> read_in(const Fd& directory, const std::string& path, const char* file) {
  Fd fd(::openat(directory.get(), file, O_RDONLY | O_CLOEXEC));
  if (!fd) return Error::sys("open", path + "/" + file);
  std::string data;
  char buffer[4096];
  for (ssize_t n; (n = ::read(fd.get(), buffer, sizeof buffer)) != 0;) {
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return Error::sys("read", path + "/" + file);
    data.append(buffer, static_cast<size_t>(n));
  }
  return data;
}

Result<void> write_in(const Fd& directory, const std::string& path, const char* file,
                      std::string_view data) {
  Fd fd(::openat(directory.get(), file, O_WRONLY | O_CLOEXEC));
  if (!fd || ::write(fd.get(), data.data(), data.size()) != static_cast<ssize_t>(data.size()))
    return Error::sys("write '" + std::string(data) + "' to", path + "/" + file);
  return {};
}

/// The directory that stands for group `path` in a v1 hierarchy: one name directly below the group
/// the caller is in, so that a quota on the caller (a host of the test cell) covers its guests too,
/// and so that removing it leaves no parents behind. Empty when there is no such hierarchy.
std::string v1_directory(std::string_view controller, const std::string& path) {
  auto groups = read_file("/proc/self/cgroup");
  if (!groups) return {};
  for (size_t start = 0; start < groups->size();) {
    const size_t end = std::min(groups->find('\n', start), groups->size());
    const std::string_view line(groups->data() + start, end - start);
    start = end + 1;
    // "ID:CONTROLLER[,CONTROLLER...]:PATH" (cgroups(7)); mounted under the same list of names.
    const size_t first = line.find(':');
    const size_t second = line.find(':', first + 1);
    if (first == line.npos || second == line.npos) continue;
    const std::string names = "," + std::string(line.substr(first + 1, second - first - 1)) + ",";
    if (names.find("," + std::string(controller) + ",") == names.npos) continue;
    std::string own(line.substr(second + 1));
    if (own == "/") own.clear();
    std::string leaf = path.substr(1);
    std::replace(leaf.begin(), leaf.end(), '/', '.');
    return kV1Root + std::string(controller) + own + "/" + leaf;
  }
  return {};
}

/// Makes a v2 controller available in group `path`, as far as the machine offers it. Not an error
/// when it does not: the caller looks for the control file afterwards.
void enable_controller(const std::string& root, const std::string& path, std::string_view name) {
  auto offered = read_file(root + "/cgroup.controllers");
  if (!offered || (" " + *offered).find(" " + std::string(name)) == std::string::npos) return;
  for (size_t end = 0; end != path.npos; end = path.find('/', end + 1)) {
    const std::string parent = root + path.substr(0, end);
    if (!write_control(parent + "/cgroup.subtree_control", "+" + std::string(name)).ok()) return;
  }
}

}  // namespace

Result<std::string> Cgroup::root() {
  // Mounted once at boot: looked up once per process.
  static const char* const found = is_cgroup2("/sys/fs/cgroup")           ? "/sys/fs/cgroup"
                                   : is_cgroup2("/sys/fs/cgroup/unified") ? "/sys/fs/cgroup/unified"
                                                                          : nullptr;
  if (!found)
    return Error::sys("find the unified control group hierarchy at", "/sys/fs/cgroup[/unified]",
                      ENOENT, "mount it: mount -t cgroup2 none /sys/fs/cgroup/unified");
  return std::string(found);
}

Result<Cgroup> Cgroup::create(const std::string& path) {
  CHECK(path.size() > 1 && path.front() == '/' && path.back() != '/');
  const std::string directory = TRY(root()) + path;
  if (::mkdir(directory.c_str(), 0755) < 0) {
    if (errno != ENOENT) return Error::sys("make cgroup", directory);
    TRY(make_directories(directory.substr(0, directory.rfind('/'))));
    if (::mkdir(directory.c_str(), 0755) < 0) return Error::sys("make cgroup", directory);
  }
  return Cgroup(path, TRY(open_file(directory, O_RDONLY | O_DIRECTORY)));
}

Result<Cgroup> Cgroup::open(const std::string& path) {
  CHECK(path.size() > 1 && path.front() == '/' && path.back() != '/');
  Cgroup group(path, TRY(open_file(TRY(root()) + path, O_RDONLY | O_DIRECTORY)));
  for (const char* controller : {"cpu", "memory"}) {
    std::string v1 = v1_directory(controller, path);
    if (!v1.empty() && ::access(v1.c_str(), F_OK) == 0)
      group.v1_directories_.push_back(std::move(v1));
  }
  return group;
}

Result<void> Cgroup::freeze() {
  return write_in(directory_, path_, "cgroup.freeze", "1");
}
Result<void> Cgroup::thaw() {
  return write_in(directory_, path_, "cgroup.freeze", "0");
}

Result<bool> Cgroup::freezing() const {
  return TRY(read_in(directory_, path_, "cgroup.freeze")).starts_with('1');
}

Result<bool> Cgroup::frozen() const {
  return TRY(read_in(directory_, path_, "cgroup.events")).find("frozen 1") != std::string::npos;
}

Result<void> Cgroup::wait_frozen(Duration limit) {
  Fd events(::openat(directory_.get(), "cgroup.events", O_RDONLY | O_CLOEXEC));
  if (!events) return Error::sys("open", path_ + "/cgroup.events");
  const Time start = Clock::now();
  const bool real_time = ::sched_getscheduler(0) != SCHED_OTHER;
  for (;;) {
    char buffer[256];
    const ssize_t n = ::pread(events.get(), buffer, sizeof buffer, 0);
    if (n < 0) return Error::sys("read", path_ + "/cgroup.events");
    if (std::string_view(buffer, static_cast<size_t>(n)).find("frozen 1") != std::string_view::npos)
      return {};
    const Duration waited = Clock::now() - start;
    if (waited > limit)
      return Error::sys("freeze cgroup", path_, ETIMEDOUT,
                        "a process is stuck in the kernel; see /proc/PID/stack of its processes");
    // One thread takes 20 us (ENGINE.md section 5), 64 take 400. To sleep costs more than the one
    // takes, so look again at once at first. But those that are to freeze need this processor: a
    // yield gives it to none of another session (sched(7)), and who sleeps for 10 us again and
    // again, and is real-time, takes half of it away from them. So pauses grow with what has
    // passed.
    if (waited < std::chrono::microseconds(100) && !real_time) {
      ::sched_yield();
    } else {
      constexpr Duration kShortest = std::chrono::microseconds(10), kLongest = milliseconds(1);
      const timespec pause{0, std::clamp(waited / 4, kShortest, kLongest).count()};
      ::nanosleep(&pause, nullptr);
    }
  }
}

Result<bool> Cgroup::wait_thawed(Duration limit) const {
  const Time end = Clock::now() + limit;
  while (TRY(freezing())) {
    if (Clock::now() >= end) return false;
    const timespec pause{0, 50'000};
    ::nanosleep(&pause, nullptr);
  }
  return true;
}

Result<std::vector<pid_t>> Cgroup::ids_in(const char* file) const {
  const std::string text = TRY(read_in(directory_, path_, file));
  std::vector<pid_t> ids;
  for (const char *p = text.data(), *end = p + text.size(); p < end;) {
    pid_t id = 0;
    const auto parsed = std::from_chars(p, end, id);
    if (parsed.ec != std::errc())
      return Error::sys("read process ids from", path_ + "/" + file, EPROTO);
    ids.push_back(id);
    p = parsed.ptr + 1;
  }
  return ids;
}

Result<std::vector<pid_t>> Cgroup::processes() const {
  return ids_in("cgroup.procs");
}
Result<std::vector<pid_t>> Cgroup::threads() const {
  return ids_in("cgroup.threads");
}

bool Cgroup::populated() const {
  // A group that is gone has no processes either.
  auto events = read_in(directory_, path_, "cgroup.events");
  return events.ok() && events->find("populated 1") != std::string::npos;
}

void Cgroup::end_soon() const {
  const sched_param none{};
  if (auto ids = processes())
    for (pid_t process : *ids) weigh_as_usual(process);
  if (auto ids = threads())
    for (pid_t thread : *ids) ::sched_setscheduler(thread, SCHED_OTHER, &none);
}

void Cgroup::end_in_bulk() const {
  // Who kills and waits leaves this processor to them. Elsewhere they would get their turn, a tick
  // of 4 ms, from a program that runs, though another processor be idle.
  const Pinned here;
  if (auto ids = threads())
    for (pid_t thread : *ids) {
      here.bring(Tid{thread});
      yield_to_all(thread);
    }
}

Result<void> Cgroup::kill(Ending ending) {
  if (ending == Ending::soon)
    end_soon();
  else
    end_in_bulk();
  auto killed = write_in(directory_, path_, "cgroup.kill", "1");
  if (!killed && killed.error().code == ENOENT)
    return Error::sys("kill the processes of cgroup", path_, ENOENT,
                      "the group is gone, or the kernel is older than 5.14");
  return killed;
}

Result<void> Cgroup::set(const char* controller, std::initializer_list<Setting> v2,
                         std::initializer_list<Setting> v1) {
  const std::string root = TRY(Cgroup::root());
  // The first control file that exists says how; `idle` (Linux 5.15) stands before `weight`.
  auto write_first = [](const std::string& directory, auto settings) -> Result<bool> {
    for (const Setting& setting : settings) {
      const std::string file = directory + "/" + setting.file;
      if (::access(file.c_str(), F_OK) < 0) continue;
      TRY(write_control(file, setting.value));
      return true;
    }
    return false;
  };
  if (TRY(write_first(root + path_, v2))) return {};
  enable_controller(root, path_, controller);
  if (TRY(write_first(root + path_, v2))) return {};

  const std::string directory = v1_directory(controller, path_);
  if (directory.empty() || ::access(directory.substr(0, directory.rfind('/')).c_str(), F_OK) < 0)
    return Error::sys(std::string("limit ") + controller + " of cgroup", path_, EOPNOTSUPP,
                      std::string("this machine has no ") + controller + " controller enabled");
  if (::mkdir(directory.c_str(), 0755) == 0) {
    v1_directories_.push_back(directory);
  } else if (errno != EEXIST) {
    return Error::sys("make cgroup", directory);
  } else if (std::find(v1_directories_.begin(), v1_directories_.end(), directory) ==
             v1_directories_.end()) {
    v1_directories_.push_back(directory);  // left over from a starter that was killed
  }
  if (!TRY(write_first(directory, v1)))
    return Error::sys("find a control file in cgroup", directory, EOPNOTSUPP);
  return move_into(directory);
}

/// Moves all processes into a v1 group, also those that others fork meanwhile: until a look at the
/// list shows none that is not there already.
Result<void> Cgroup::move_into(const std::string& directory) {
  std::set<pid_t> moved;
  for (bool again = true; again;) {
    again = false;
    for (pid_t pid : TRY(processes())) {
      if (!moved.insert(pid).second) continue;
      again = true;
      auto entered = write_control(directory + "/cgroup.procs", std::to_string(pid));
      if (!entered && entered.error().code != ESRCH) return entered;
    }
  }
  return {};
}

Result<void> Cgroup::lowest_priority() {
  return set("cpu", {{"cpu.idle", "1"}, {"cpu.weight", "1"}},
             {{"cpu.idle", "1"}, {"cpu.shares", "2"}});
}

Result<void> Cgroup::limit_memory(uint64_t bytes) {
  const std::string value = std::to_string(bytes);
  return set("memory", {{"memory.max", value}}, {{"memory.limit_in_bytes", value}});
}

Result<void> Cgroup::join_v1() const {
  for (const std::string& directory : v1_directories_)
    TRY(write_control(directory + "/cgroup.procs", "0"));
  return {};
}

Result<void> Cgroup::remove() {
  while (!v1_directories_.empty()) {
    const std::string& directory = v1_directories_.back();
    if (::rmdir(directory.c_str()) < 0 && errno != ENOENT)
      return Error::sys("remove cgroup", directory);
    v1_directories_.pop_back();
  }
  const std::string directory = TRY(root()) + path_;
  if (::rmdir(directory.c_str()) < 0 && errno != ENOENT)
    return Error::sys("remove cgroup", directory);
  return {};
}

}  // namespace hob::migrate
