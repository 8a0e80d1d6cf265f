#include "migrate/proc.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <memory>

#include "base/check.h"
#include "base/fd.h"

namespace hob::migrate::proc {
namespace {

// Walks over a text; each take fails softly by setting bad.
struct Scanner {
  std::string_view text;
  bool bad = false;

  void skip(std::string_view any) {
    text.remove_prefix(std::min(text.find_first_not_of(any), text.size()));
  }
  template <class T>
  T number(int base) {
    skip(" \t");
    T value = 0;
    auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
    if (error != std::errc()) bad = true;
    text.remove_prefix(static_cast<size_t>(end - text.data()));
    return value;
  }
  void expect(char c) {
    if (text.empty() || text[0] != c) {
      bad = true;
      return;
    }
    text.remove_prefix(1);
  }
  std::string_view word() {
    skip(" \t");
    auto end = std::min(text.find_first_of(" \t\n"), text.size());
    auto word = text.substr(0, end);
    text.remove_prefix(end);
    return word;
  }
};

template <class Fn>
void each_line(std::string_view text, Fn&& fn) {
  while (!text.empty()) {
    auto end = text.find('\n');
    fn(text.substr(0, end));
    if (end == std::string_view::npos) return;
    text.remove_prefix(end + 1);
  }
}

bool starts(std::string_view line, std::string_view key) {
  return line.substr(0, key.size()) == key;
}

Error damaged(std::string_view what) {
  return Error{"read " + std::string(what) + ": the kernel's text has an unknown form", EPROTO};
}

std::vector<pid_t> inner_numbers(std::string_view line) {
  Scanner s{line};
  std::vector<pid_t> all;
  for (s.skip(" \t"); !s.text.empty() && !s.bad; s.skip(" \t")) all.push_back(s.number<pid_t>(10));
  if (!all.empty()) all.erase(all.begin());
  return all;
}

}  // namespace

Result<std::vector<Mapping>> parse_maps(std::string_view text) {
  std::vector<Mapping> all;
  bool bad = false;
  each_line(text, [&](std::string_view line) {
    if (line.empty()) return;
    Scanner s{line};
    Mapping m;
    m.range.start = s.number<uint64_t>(16);
    s.expect('-');
    m.range.end = s.number<uint64_t>(16);
    auto rights = s.word();
    if (rights.size() != 4) {
      bad = true;
      return;
    }
    m.protection = (rights[0] == 'r' ? PROT_READ : 0) | (rights[1] == 'w' ? PROT_WRITE : 0) |
                   (rights[2] == 'x' ? PROT_EXEC : 0);
    m.shared = rights[3] == 's';
    m.offset = s.number<uint64_t>(16);
    auto major = s.number<unsigned>(16);
    s.expect(':');
    m.device = makedev(major, s.number<unsigned>(16));
    m.inode = s.number<uint64_t>(10);
    s.skip(" ");
    m.name = s.text;
    bad = bad || s.bad;
    all.push_back(std::move(m));
  });
  if (bad) return damaged("maps");
  return all;
}

Result<Stat> parse_stat(std::string_view text) {
  auto close = text.rfind(')');
  if (close == std::string_view::npos) return damaged("stat");
  Scanner s{text.substr(close + 1)};
  std::vector<std::string_view> f(3);  // so that f[N] is field N of proc(5)
  for (auto w = s.word(); !w.empty(); w = s.word()) f.push_back(w);
  if (f.size() < 53) return damaged("stat");
  auto n = [&](size_t i) { return std::strtoull(std::string(f[i]).c_str(), nullptr, 10); };
  Stat stat;
  stat.state = f[3][0];
  stat.parent = static_cast<pid_t>(n(4));
  stat.group = static_cast<pid_t>(n(5));
  stat.session = static_cast<pid_t>(n(6));
  stat.terminal = static_cast<int>(n(7));
  stat.start_code = n(26);
  stat.end_code = n(27);
  stat.start_stack = n(28);
  stat.start_data = n(45);
  stat.end_data = n(46);
  stat.start_brk = n(47);
  stat.arg_start = n(48);
  stat.arg_end = n(49);
  stat.env_start = n(50);
  stat.env_end = n(51);
  stat.exit_signal = static_cast<int>(n(38));
  stat.processor = static_cast<int>(n(39));
  stat.exit_code = static_cast<int>(n(52));
  return stat;
}

Result<Status> parse_status(std::string_view text) {
  Status status;
  bool bad = false, have_inside = false;
  each_line(text, [&](std::string_view line) {
    auto colon = line.find(':');
    if (colon == std::string_view::npos) return;
    auto key = line.substr(0, colon);
    Scanner s{line.substr(colon + 1)};
    if (key == "Name") {
      s.skip("\t");
      status.name = s.text;
    } else if (key == "NSpid") {
      status.inside = inner_numbers(s.text);
      have_inside = true;
    } else if (key == "NSpgid") {
      status.inside_group = inner_numbers(s.text);
    } else if (key == "NSsid") {
      status.inside_session = inner_numbers(s.text);
    } else if (key == "Threads") {
      status.threads = s.number<int>(10);
    } else if (key == "TracerPid") {
      status.tracer = s.number<pid_t>(10);
    } else if (key == "Uid") {
      for (auto& id : status.uid) id = s.number<uid_t>(10);
    } else if (key == "Gid") {
      for (auto& id : status.gid) id = s.number<gid_t>(10);
    } else if (key == "Umask") {
      status.umask = s.number<mode_t>(8);
    } else if (key == "NoNewPrivs") {
      status.no_new_privileges = s.number<int>(10);
    } else if (key == "Seccomp") {
      status.seccomp = s.number<int>(10);
    } else if (key == "Seccomp_filters") {
      status.seccomp_filters = s.number<int>(10);
    } else if (key == "SigIgn") {
      status.ignored = s.number<uint64_t>(16);
    } else if (key == "VmLck") {
      s.skip(" \t");
      status.locked = s.number<uint64_t>(10) * 1024;
    } else if (key == "x86_Thread_features") {
      status.shadow_stack = s.text.find("shstk") != s.text.npos;
    } else if (key == "CapEff") {
      status.effective = s.number<uint64_t>(16);
    }
    bad = bad || s.bad;
  });
  if (bad || !have_inside) return damaged("status");
  return status;
}

std::string_view FdInfo::field(std::string_view key) const {
  for (std::string_view line : rest) {
    if (!starts(line, key) || line.size() <= key.size() || line[key.size()] != ':') continue;
    Scanner s{line.substr(key.size() + 1)};
    s.skip(" \t");
    return s.text;
  }
  return {};
}

Result<FdInfo> parse_fdinfo(std::string_view text) {
  FdInfo info;
  bool bad = false, flags = false;
  each_line(text, [&](std::string_view line) {
    auto number = [&]<class T>(std::string_view key, T& to, int base) {
      if (!starts(line, key)) return false;
      Scanner s{line.substr(key.size())};
      to = s.number<T>(base);
      bad = bad || s.bad;
      return true;
    };
    if (number("pos:", info.position, 10) || number("mnt_id:", info.mount, 10) ||
        number("ino:", info.inode, 10) || line.empty())
      return;
    if (number("flags:", info.flags, 8))
      flags = true;
    else
      info.rest.emplace_back(line);
  });
  if (bad || !flags) return damaged("fdinfo");
  return info;
}

Result<std::vector<Timer>> parse_timers(std::string_view text) {
  std::vector<Timer> all;
  bool bad = false;
  each_line(text, [&](std::string_view line) {
    auto colon = line.find(':');
    if (colon == std::string_view::npos) return;
    auto key = line.substr(0, colon);
    Scanner s{line.substr(colon + 1)};
    if (key == "ID") {
      all.emplace_back().id = s.number<int>(10);
    } else if (all.empty()) {
      bad = true;
    } else if (key == "signal") {
      all.back().signal = s.number<int>(10);
      s.expect('/');
      all.back().value = s.number<uint64_t>(16);
    } else if (key == "notify") {
      auto how = s.word();
      auto slash = how.find('/');
      all.back().notify = how.substr(0, slash);
      if (slash != std::string_view::npos) {
        Scanner target{how.substr(slash + 1)};
        all.back().by_tid = starts(target.text, "tid.");
        target.text.remove_prefix(std::min<size_t>(4, target.text.size()));
        all.back().target = target.number<pid_t>(10);
        bad = bad || target.bad;
      }
    } else if (key == "ClockID") {
      all.back().clock = s.number<int>(10);
    }
    bad = bad || s.bad;
  });
  if (bad) return damaged("timers");
  return all;
}

std::string path(Tid process, std::string_view file) {
  return "/proc/" + std::to_string(process.value) + "/" + std::string(file);
}

namespace {
thread_local KeptOpen* kept_open = nullptr;

// Records of /proc are smaller; one that is not is read in the ordinary way.
Result<std::string> read_kept(int fd) {
  char buffer[8192];
  const ssize_t n = ::pread(fd, buffer, sizeof buffer, 0);
  if (n < 0) return Error::sys("read", "a file of /proc");
  if (n == sizeof buffer) return Error{"", EFBIG};
  return std::string(buffer, static_cast<size_t>(n));
}
}  // namespace

KeptOpen::KeptOpen() {
  CHECK(!kept_open);
  kept_open = this;
}
KeptOpen::~KeptOpen() {
  kept_open = nullptr;
}

void KeptOpen::add(Tid process, std::initializer_list<const char*> files) {
  for (const char* file : files)
    if (auto opened = open_file(path(process, file), O_RDONLY))
      files_.insert_or_assign({process, file}, std::move(*opened));
}

int KeptOpen::find(Tid process, std::string_view file) {
  if (!kept_open) return -1;
  const auto at = kept_open->files_.find(std::pair{process, std::string(file)});
  return at == kept_open->files_.end() ? -1 : at->second.get();
}

// A file of /proc/PID that is not there: the process has ended, or been reaped since it was opened.
static Error gone(Error error) {
  if (error.code == ENOENT) error.code = ESRCH;
  return error;
}

Result<std::string> read(Tid process, std::string_view file) {
  if (const int fd = KeptOpen::find(process, file); fd >= 0)
    if (auto text = read_kept(fd)) return text;
  auto text = read_file(path(process, file));
  if (!text) return gone(std::move(text).error());
  return text;
}

Result<Stat> stat(Tid process) {
  return parse_stat(TRY(read(process, "stat")));
}
Result<Status> status(Tid process) {
  return parse_status(TRY(read(process, "status")));
}
Result<std::vector<Mapping>> maps(Tid process) {
  return parse_maps(TRY(read(process, "maps")));
}

Result<std::vector<std::string>> list(Tid process, std::string_view directory) {
  Fd opened;
  int fd = KeptOpen::find(process, directory);
  if (fd < 0 || ::lseek(fd, 0, SEEK_SET) < 0) {
    auto now = open_file(path(process, directory), O_RDONLY | O_DIRECTORY);
    if (!now) return gone(std::move(now).error());
    opened = TRY(std::move(now));
    fd = opened.get();
  }
  std::vector<std::string> names;
  for (;;) {
    alignas(dirent64) char some[8192];
    const ssize_t n = ::getdents64(fd, some, sizeof some);
    if (n < 0) return gone(Error::sys("list", path(process, directory)));
    if (n == 0) return names;
    for (ssize_t at = 0; at < n;) {
      const auto* entry = reinterpret_cast<const dirent64*>(some + at);
      const std::string_view name = entry->d_name;
      if (name != "." && name != "..") names.emplace_back(name);
      at += entry->d_reclen;
    }
  }
}

static Result<std::vector<int>> numbers_in(Tid process, std::string_view directory) {
  std::vector<int> all;
  for (const std::string& name : TRY(list(process, directory)))
    all.push_back(std::atoi(name.c_str()));
  std::sort(all.begin(), all.end());
  return all;
}

Result<std::vector<Tid>> threads(Tid process) {
  std::vector<Tid> all = {process};
  for (int tid : TRY(numbers_in(process, "task")))
    if (tid != process.value) all.push_back({tid});
  return all;
}

Result<std::vector<Tid>> threads(Tid process, const Status& status) {
  if (status.threads == 1) return std::vector<Tid>{process};
  return threads(process);
}

static std::vector<Tid> children_of(Tid process, const std::vector<Tid>& threads) {
  std::vector<Tid> all;
  for (Tid thread : threads) {
    auto text = read(process, "task/" + std::to_string(thread.value) + "/children");
    if (!text) continue;  // a thread that has just ended; its children are its siblings' now
    Scanner s{*text};
    for (s.skip(" \n"); !s.text.empty() && !s.bad; s.skip(" \n"))
      all.push_back({s.number<pid_t>(10)});
  }
  return all;
}

Result<std::vector<Tid>> children(Tid process) {
  return children_of(process, TRY(threads(process)));
}
std::vector<Tid> children_of_single(Tid process) {
  return children_of(process, {process});
}
Result<std::vector<Tid>> children(Tid process, const Status& status) {
  return children_of(process, TRY(threads(process, status)));
}

Result<Fd> borrow_descriptor(Tid process, int number) {
  Fd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, process.value, 0)));
  if (!pidfd) return Error::sys("reach process", std::to_string(process.value));
  Fd fd(static_cast<int>(::syscall(SYS_pidfd_getfd, pidfd.get(), number, 0)));
  if (!fd) return Error::sys("take over", "descriptor " + std::to_string(number));
  return fd;
}

Result<std::vector<int>> descriptors(Tid process) {
  return numbers_in(process, "fd");
}

Result<void> read_memory(Tid process, RemoteAddress from, void* to, size_t size) {
  iovec local{to, size}, remote{reinterpret_cast<void*>(from.value), size};
  ssize_t n = ::process_vm_readv(process.value, &local, 1, &remote, 1, 0);
  if (n == static_cast<ssize_t>(size)) return {};
  if (n < 0 && errno == EFAULT) n = 0;
  // What the program itself may not read now has a content all the same (PROT_NONE, PROT_EXEC).
  if (n >= 0) {
    const Fd memory = TRY(open_file(path(process, "mem"), O_RDONLY));
    while (n < static_cast<ssize_t>(size)) {
      const auto done = static_cast<size_t>(n);
      const ssize_t more = ::pread(memory.get(), static_cast<char*>(to) + done, size - done,
                                   static_cast<off_t>(from.value + done));
      if (more <= 0) break;
      n += more;
    }
    if (n == static_cast<ssize_t>(size)) return {};
  }
  char where[64];
  std::snprintf(where, sizeof where, "of process %d at %lx", process.value, from.value);
  return Error::sys("read memory", where, n < 0 ? errno : EFAULT);
}

}  // namespace hob::migrate::proc
