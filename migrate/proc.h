#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/fd.h"
#include "base/result.h"
#include "migrate/types.h"

/// What /proc tells about a process (proc(5)). The parsers are pure and take the files' text.
namespace hob::migrate::proc {

/// One line of /proc/PID/maps.
struct Mapping {
  Range range;
  int protection = 0;  ///< PROT_*
  bool shared = false;
  uint64_t offset = 0;
  dev_t device = 0;
  uint64_t inode = 0;
  std::string name;  ///< path, "[heap]", ... or empty
};
Result<std::vector<Mapping>> parse_maps(std::string_view text);

/// The fields of /proc/PID/stat that the engine uses.
struct Stat {
  char state = '?';  ///< R S D T t Z X
  pid_t parent = 0, group = 0, session = 0;
  int terminal = 0;  ///< device number, 0 for none
  uint64_t start_code = 0, end_code = 0, start_stack = 0, start_data = 0, end_data = 0;
  uint64_t start_brk = 0, arg_start = 0, arg_end = 0, env_start = 0, env_end = 0;
  int exit_signal = 0, exit_code = 0;
  int processor = 0;  ///< on which it ran last
};
Result<Stat> parse_stat(std::string_view text);

/// The fields of /proc/PID/status that the engine uses.
struct Status {
  std::string name;
  std::vector<pid_t> inside;  ///< NSpid without the first: the numbers further inside
  std::vector<pid_t> inside_group, inside_session;
  int threads = 0;
  pid_t tracer = 0;
  uid_t uid[4] = {};
  gid_t gid[4] = {};
  mode_t umask = 022;
  int no_new_privileges = 0, seccomp = 0, seccomp_filters = 0;
  bool shadow_stack = false;
  uint64_t locked = 0;  ///< bytes of memory that are mapped as locked (mlock(2))
  uint64_t ignored = 0, effective = 0;
};
Result<Status> parse_status(std::string_view text);

/// /proc/PID/fdinfo/N.
struct FdInfo {
  uint64_t position = 0;
  uint32_t flags = 0;
  uint64_t mount = 0, inode = 0;
  std::vector<std::string> rest;  ///< the lines that depend on the kind of file
  /// The value of the line "key:\tvalue" or "key: value"; empty if there is none.
  std::string_view field(std::string_view key) const;
};
Result<FdInfo> parse_fdinfo(std::string_view text);

/// A POSIX timer, one entry of /proc/PID/timers.
struct Timer {
  int id = 0, signal = 0;
  uint64_t value = 0;
  std::string notify;  ///< "none", "signal" or "thread"
  bool by_tid = false;
  pid_t target = 0;  ///< host pid or tid
  int clock = 0;
};
Result<std::vector<Timer>> parse_timers(std::string_view text);

std::string path(Tid process, std::string_view file);
/// Reads a file of /proc/PID; ESRCH if the process is gone.
Result<std::string> read(Tid process, std::string_view file);
/// Names in a directory below /proc/PID, in no order; ESRCH if there is none, or no process.
Result<std::vector<std::string>> list(Tid process, std::string_view directory);
/// While it lives, this thread reads `files` of the processes that are added, and lists
/// directories, through descriptors that have been opened: half the time. Only for files that tell
/// of the process as it is when they are read; what tells of its memory (maps, auxv, pagemap) stays
/// with what that was when they were opened. At most one at a time.
class KeptOpen {
 public:
  KeptOpen();
  KeptOpen(const KeptOpen&) = delete;
  KeptOpen& operator=(const KeptOpen&) = delete;
  ~KeptOpen();
  void add(Tid process, std::initializer_list<const char*> files);
  /// -1: it is not there.
  static int find(Tid process, std::string_view file);

 private:
  std::map<std::pair<Tid, std::string>, Fd, std::less<>> files_;
};
Result<Stat> stat(Tid process);
Result<Status> status(Tid process);
Result<std::vector<Mapping>> maps(Tid process);
/// Threads of a process, its leader first.
Result<std::vector<Tid>> threads(Tid process);
/// Children of all its threads, zombies included.
Result<std::vector<Tid>> children(Tid process);
/// The same, where status() has told how many threads there are.
Result<std::vector<Tid>> threads(Tid process, const Status& status);
Result<std::vector<Tid>> children(Tid process, const Status& status);
/// The same, where there is one thread only; none if the process is gone.
std::vector<Tid> children_of_single(Tid process);
/// A descriptor of ours for the open file behind one of the process's (pidfd_getfd(2)).
Result<Fd> borrow_descriptor(Tid process, int number);
/// Numbers of the open descriptors, ascending.
Result<std::vector<int>> descriptors(Tid process);

/// Memory of a stopped or running process, whatever its protection; fewer bytes than asked for is
/// an Error.
Result<void> read_memory(Tid process, RemoteAddress from, void* to, size_t size);
template <class T>
Result<T> read_memory(Tid process, RemoteAddress from) {
  T value;
  TRY(read_memory(process, from, &value, sizeof value));
  return value;
}

}  // namespace hob::migrate::proc
