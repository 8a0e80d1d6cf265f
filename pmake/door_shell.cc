// sh: what make starts for each recipe line. It tells pmake what it was asked to run
// (door_format.h) and ends as pmake says, after the recipe ran elsewhere, or becomes the makefile's
// own shell. What is out of the ordinary it leaves to the whole shell beside it (shell_main.cc).
//
// Without a C library: starting one costs three times what this program does (glibc asks the
// processor for its features, each question of which a virtual machine's host answers). So nothing
// here may need one: no initialisers, no exceptions, no allocation.
#include <asm/unistd.h>
#include <linux/poll.h>
#include <linux/signal.h>
#include <linux/signalfd.h>
#include <linux/stat.h>
#include <linux/un.h>

#include <cstddef>
#include <initializer_list>

#include "pmake/bare.h"
#include "pmake/door_format.h"

namespace hob::pmake::door {
namespace {

/// The program beside this one that knows all cases.
[[noreturn]] void become_whole(char** arguments, char** environment) {
  static char path[kLongestPath];
  const long n = call(__NR_readlink, address("/proc/self/exe"), address(path), kLongestPath - 16);
  size_t size = n > 0 ? static_cast<size_t>(n) : 0;
  while (size > 0 && path[size - 1] != '/') --size;
  if (append(path, size, "whole"))
    call(__NR_execve, address(path), address(arguments), address(environment));
  say("run ", path, ": it is not there; is hob installed whole?");
  leave(kFailed);
}

// ---- what makes a recipe ordinary

bool open(long fd) {
  return call(__NR_fcntl, fd, 1 /* F_GETFD */) >= 0;
}

/// make leaves its jobserver open for lines with `+` or $(MAKE) alone.
bool has_jobserver(Text flags) {
  Text at = find(flags, "--jobserver-auth=");
  if (at == nullptr) at = find(flags, "--jobserver-fds=");
  if (at == nullptr) return false;
  long fds[2] = {0, 0};
  for (long& fd : fds) {
    if (*at < '0' || *at > '9') return false;
    for (; *at >= '0' && *at <= '9' && fd < 100000; ++at) fd = 10 * fd + (*at - '0');
    if (*at == ',') ++at;
  }
  return open(fds[0]) && open(fds[1]);
}

/// There is nothing to read: a terminal (many recipes run at once, and none asks the user), an
/// empty device, or a pipe that has ended.
bool no_input() {
  struct statx status {};
  if (call(__NR_statx, 0, address(""), 0x1000 /* AT_EMPTY_PATH */, STATX_TYPE | STATX_BASIC_STATS,
           address(&status)) < 0)
    return false;
  const unsigned kind = status.stx_mode & 0170000u;
  if (kind == 0020000u)  // /dev/null, or a terminal
    return (status.stx_rdev_major == 1 && status.stx_rdev_minor == 3) ||
           call(__NR_ioctl, 0, 0x5401 /* TCGETS */, address(&status)) == 0;
  if (kind != 0010000u) return false;
  pollfd pipe{0, POLLIN, 0};
  return call(__NR_poll, address(&pipe), 1, 0) == 1 && pipe.revents == POLLHUP;
}

// ---- the makefile's own shell

/// Of the build's own machinery (recipe.h): not for what runs outside of it.
bool machinery(Text entry) {
  for (Text name :
       {"REMOTE_MAKE=", "REMOTE_TARGET=", "REMOTE_RULES=", "REMOTE_SCRIPTS=", "REMOTE_PLACED="})
    if (after(entry, name) != nullptr) return true;
  return false;
}

char* words[kMostPointers];
char shell_text[kLongestPath];

[[noreturn]] void become_shell(long count, char** arguments, char** environment, bool inside) {
  size_t size = 0, n = 0;
  append(shell_text, size, variable(environment, "REMOTE_SHELL="));
  for (size_t at = 0; at < size; ++at) {
    if (shell_text[at] == ' ') {
      shell_text[at] = '\0';
      continue;
    }
    if (at == 0 || shell_text[at - 1] == '\0') words[n++] = shell_text + at;
  }
  static char bourne[] = "/bin/sh";
  if (n == 0) words[n++] = bourne;
  for (long i = 1; i < count; ++i) words[n++] = arguments[i];
  words[n] = nullptr;
  if (!inside) {
    static char placed[] = "REMOTE_PLACED=1";
    char** kept = environment;
    for (char** entry = environment; *entry != nullptr; ++entry)
      if (!machinery(*entry)) *kept++ = *entry;
    *kept++ = placed;  // there is room: REMOTE_MAKE has gone
    *kept = nullptr;
  }
  const long error = call(__NR_execve, address(words[0]), address(words), address(environment));
  say("run ", words[0], error == -kEnoent ? ": it is not there" : ": it cannot be executed");
  leave(error == -kEnoent ? 127 : 126);  // as a shell's
}

bool ours(Text name) {
  if (*name != '/') return false;
  const size_t size = length(name);
  for (Text end : kShellPaths)
    if (size > length(end) && after(name + size - length(end), end) != nullptr) return true;
  return false;
}

/// The makefile's $(SHELL), which make takes for us, is in the recipe or exported.
bool names_us(long count, char** arguments, char** environment) {
  if (!ours(arguments[0])) return false;
  const Text rest = after(variable(environment, "SHELL="), arguments[0]);
  if (rest != nullptr && *rest == '\0') return true;
  for (long i = 1; i < count; ++i)
    if (find(arguments[i], arguments[0]) != nullptr) return true;
  return false;
}

/// SHELL is a path, and what it is given fits: execve(2) will do.
bool simple_shell(long count, Text shell) {
  size_t words_in_it = 1;
  for (Text at = shell; *at != '\0'; ++at)
    if (*at == ' ') ++words_in_it;
  return (*shell == '/' || *shell == '\0') && length(shell) < kLongestPath - 1 &&
         words_in_it < kMostWords && static_cast<size_t>(count) < kMostPointers - kMostWords;
}

// ---- talking to pmake

int connect_to(Text server) {
  sockaddr_un name{};
  name.sun_family = 1;  // AF_UNIX
  size_t size = 0;
  for (Text part : {server, ".door"})
    for (; *part != '\0'; ++part) {
      if (size + 1 >= sizeof name.sun_path) return -1;
      name.sun_path[size++] = *part;
    }
  const long fd = call(__NR_socket, 1, kSocketStream | kCloseOnExec, 0);
  if (fd >= 0 && call(__NR_connect, fd, address(&name), sizeof name) < 0) {
    call(__NR_close, fd);
    return -1;
  }
  return static_cast<int>(fd);
}

/// All of it, or false.
bool send(int fd, const void* bytes, size_t size) {
  const char* at = static_cast<const char*>(bytes);
  while (size > 0) {
    const long n = call(__NR_sendto, fd, address(at), static_cast<long>(size), kNoSignal);
    if (n == -kEintr) continue;
    if (n <= 0) return false;
    at += n;
    size -= static_cast<size_t>(n);
  }
  return true;
}

struct Vector {
  const void* base;
  size_t size;
};

bool ask(int fd, long count, char** arguments, char** environment) {
  static char directory[kLongestPath];
  Request request{};
  request.mark = kMark;
  request.arguments = static_cast<uint32_t>(count);
  Text last = arguments[count - 1];
  for (char** entry = environment; *entry != nullptr; ++entry, ++request.environment) last = *entry;
  // The kernel lays them one after the other (execve(2)); pmake counts.
  const Text strings = arguments[0], end = last + length(last) + 1;
  if (end <= strings || end - strings > 0x7fffffff) return false;
  request.strings_size = static_cast<uint32_t>(end - strings);
  const long n = call(__NR_getcwd, address(directory), kLongestPath);
  if (n <= 1) return false;
  request.directory_size = static_cast<uint32_t>(n - 1);  // it counts the zero byte
  request.umask = static_cast<uint32_t>(call(__NR_umask, 077));
  call(__NR_umask, request.umask);
  for (unsigned i = 0; i < kLimits; ++i)
    if (call(__NR_prlimit64, 0, i, 0, address(&request.limits[i])) < 0) return false;
  const Vector parts[] = {{&request, sizeof request},
                          {directory, request.directory_size},
                          {strings, request.strings_size}};
  struct {
    void* name;
    uint32_t name_size;
    const Vector* parts;
    size_t count;
    void* control;
    size_t control_size;
    int flags;
  } message{nullptr, 0, parts, 3, nullptr, 0, 0};
  const long sent = call(__NR_sendmsg, fd, address(&message), kNoSignal);
  // The kernel takes a small message whole; of a large one it may take a part.
  size_t left = sent > 0 ? static_cast<size_t>(sent) : 0;
  if (sent <= 0 && sent != -kEintr) return false;
  for (const Vector& part : parts) {
    const size_t done = left < part.size ? left : part.size;
    left -= done;
    if (!send(fd, static_cast<const char*>(part.base) + done, part.size - done)) return false;
  }
  return true;
}

constexpr uint64_t bit(int signal) {
  return 1ull << (signal - 1);
}
constexpr int kSignals[] = {1, 2, 3, 10, 12, 15, 18, 20};  // HUP INT QUIT USR1 USR2 TERM CONT TSTP
constexpr int kHangUp = 1, kInterrupt = 2, kQuit = 3, kPipeSignal = 13, kTerminate = 15;
constexpr int kContinue = 18, kStop = 19, kTerminalStop = 20;

uint64_t signals_to_tell() {
  uint64_t set = 0;
  for (int signal : kSignals) set |= bit(signal);
  return set;
}

struct Action {
  long handler;
  unsigned long flags;
  long restorer;
  uint64_t mask;
};
bool ignored(int signal) {
  Action action{};
  return call(__NR_rt_sigaction, signal, 0, address(&action), 8) == 0 && action.handler == 1;
}

int fatal = 0;  // what was passed on and would end a shell: it has not been ours until then

void tell_signal(int fd, int signal) {
  const Signal message{static_cast<uint32_t>(signal)};
  send(fd, &message, sizeof message);  // if pmake has gone, receive() sees it
}

/// What was ignored when we were started stays ignored. pmake decides what the others do. Whether
/// the terminal's stop stops us is the kernel's to say: not in a group that nobody could continue.
void pass_on(int fd, int signal) {
  if (signal != kContinue && ignored(signal)) return;
  if (signal != kTerminalStop) {
    if (signal == kHangUp || signal == kInterrupt || signal == kQuit || signal == kTerminate)
      fatal = signal;
    return tell_signal(fd, signal);
  }
  tell_signal(fd, kStop);
  const uint64_t set = bit(kTerminalStop);
  call(__NR_kill, call(__NR_getpid), kTerminalStop);
  call(__NR_rt_sigprocmask, 1 /* SIG_UNBLOCK */, address(&set), 0, 8);  // until we are continued
  call(__NR_rt_sigprocmask, 0 /* SIG_BLOCK */, address(&set), 0, 8);
  tell_signal(fd, kContinue);
}

[[noreturn]] void die_of(int signal) {
  const Limit none{0, 0};
  call(__NR_prlimit64, 0, 4 /* RLIMIT_CORE */, address(&none), 0);
  call(__NR_prctl, 4 /* PR_SET_DUMPABLE */, 0);  // a core_pattern with a pipe minds no limit
  const Action standard{};
  call(__NR_rt_sigaction, signal, address(&standard), 0, 8);
  const uint64_t set = bit(signal);
  call(__NR_rt_sigprocmask, 1 /* SIG_UNBLOCK */, address(&set), 0, 8);
  call(__NR_kill, call(__NR_getpid), signal);
  leave(128 + signal);
}

/// Waits for more of what pmake says, and tells it of signals meanwhile. 0: it has gone.
size_t receive(int fd, int signals, char* buffer, size_t size) {
  for (;;) {
    pollfd ready[] = {{fd, POLLIN, 0}, {signals, POLLIN, 0}};
    const long n = call(__NR_poll, address(ready), 2, -1);  // pmake answers, or ends
    if (n < 0 && n != -kEintr) return 0;
    if (ready[1].revents != 0) {
      signalfd_siginfo info{};
      if (call(__NR_read, signals, address(&info), sizeof info) == sizeof info)
        pass_on(fd, static_cast<int>(info.ssi_signo));
      continue;
    }
    if (ready[0].revents == 0) continue;
    const long got = call(__NR_recvfrom, fd, address(buffer), static_cast<long>(size));
    if (got == -kEintr) continue;
    return got > 0 ? static_cast<size_t>(got) : 0;
  }
}

/// What cannot be written is lost, and said; that nobody reads it is the job's to know, and was.
void write_out(int fd, const char* bytes, size_t size) {
  static bool lost[3];
  while (size > 0 && !lost[fd]) {
    const long n = call(__NR_write, fd, address(bytes), static_cast<long>(size));
    if (n == -kEintr) continue;
    if (n <= 0) {
      lost[fd] = true;
      if (n != -kEpipe)
        say("write ", fd == 1 ? "stdout" : "stderr", ": output of a recipe is lost");
      return;
    }
    bytes += n;
    size -= static_cast<size_t>(n);
  }
}

}  // namespace

[[noreturn]] void run(long count, char** arguments, char** environment) {
  const Text server = variable(environment, "REMOTE_MAKE=");
  if (count < 3 || *server == '\0' || *variable(environment, "REMOTE_SCRIPTS=") != '\0' ||
      !simple_shell(count, variable(environment, "REMOTE_SHELL=")) ||
      names_us(count, arguments, environment) ||
      has_jobserver(variable(environment, "MAKEFLAGS=")) || !no_input() || !open(1) || !open(2))
    become_whole(arguments, environment);
  const int fd = connect_to(server);
  if (fd < 0) become_whole(arguments, environment);
  const uint64_t told = signals_to_tell(), blocked = told | bit(kPipeSignal);
  uint64_t before = 0;
  call(__NR_rt_sigprocmask, 0 /* SIG_BLOCK */, address(&blocked), address(&before), 8);
  const int signals = static_cast<int>(call(__NR_signalfd4, -1, address(&told), 8, kCloseOnExec));
  const auto with_signals = [&] {
    call(__NR_rt_sigprocmask, 2 /* SIG_SETMASK */, address(&before), 0, 8);
  };
  if (signals < 0 || !ask(fd, count, arguments, environment)) {
    with_signals();
    call(__NR_close, fd);
    become_whole(arguments, environment);
  }
  static char buffer[65536];
  size_t have = 0;
  for (size_t left = 0, at = 0, stream = 1;;) {  // `left`: bytes of output that are still to come
    if (at == have || (left == 0 && have - at < sizeof(Word))) {
      for (size_t i = 0; i < have - at; ++i) buffer[i] = buffer[at + i];
      have -= at;
      at = 0;
      const size_t got = receive(fd, signals, buffer + have, sizeof buffer - have);
      if (got == 0) {
        say("the build's pmake has ended, and this recipe's job with it", "", "");
        leave(kFailed);
      }
      have += got;
      continue;
    }
    if (left > 0) {
      const size_t now = left < have - at ? left : have - at;
      write_out(static_cast<int>(stream), buffer + at, now);
      at += now;
      left -= now;
      continue;
    }
    Word word;
    __builtin_memcpy(&word, buffer + at, sizeof word);
    at += sizeof word;
    switch (word.kind) {
      case Kind::out:
      case Kind::err:
        left = word.value;
        stream = word.kind == Kind::out ? 1 : 2;
        break;
      case Kind::exit:
        leave(static_cast<int>(word.value));
      case Kind::die:
        die_of(word.value > 0 && word.value < 65 ? static_cast<int>(word.value) : kTerminate);
      case Kind::whole:
        if (fatal != 0) die_of(fatal);
        with_signals();
        become_whole(arguments, environment);
      case Kind::here:
      case Kind::inside:
        if (fatal != 0) die_of(fatal);
        with_signals();
        become_shell(count, arguments, environment, word.kind == Kind::inside);
      default:
        say("it says what this shell does not know; is hob installed whole?", "", "");
        leave(kFailed);
    }
  }
}

}  // namespace hob::pmake::door

// The compiler may call these where it likes (and must not make calls of them out of these loops:
// CMakeLists.txt).
extern "C" {
void* memcpy(void* to, const void* from, size_t size) {
  for (size_t i = 0; i < size; ++i) static_cast<char*>(to)[i] = static_cast<const char*>(from)[i];
  return to;
}
void* memset(void* to, int value, size_t size) {
  for (size_t i = 0; i < size; ++i) static_cast<char*>(to)[i] = static_cast<char>(value);
  return to;
}

/// The stack as execve(2) leaves it: argc, argv, a null, the environment, a null.
__attribute__((used, noreturn)) void door_start(long* stack) {
  const long count = stack[0];
  char** arguments = reinterpret_cast<char**>(stack + 1);
  hob::pmake::door::run(count, arguments, arguments + count + 1);
}
__attribute__((naked, noreturn)) void _start() {
  __asm__("xor %ebp, %ebp\n\tmov %rsp, %rdi\n\tand $-16, %rsp\n\tcall door_start\n\thlt");
}
}
