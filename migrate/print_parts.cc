#include "migrate/print_parts.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <csignal>
#include <cstring>

#include "migrate/advice.h"
#include "migrate/bindings.h"
#include "migrate/migrate.h"
#include "migrate/print.h"

namespace hob::migrate {
namespace {

std::string signal_name(int number) {
  const char* name = ::sigabbrev_np(number);
  return name != nullptr ? name : std::to_string(number);
}

std::string signal_names(uint64_t mask) {
  std::string names;
  for (int number = 1; number <= 64; number++)
    if (mask >> (number - 1) & 1) names += (names.empty() ? "" : " ") + signal_name(number);
  return names.empty() ? "none" : names;
}

std::string pending_names(const std::vector<siginfo_t>& pending) {
  std::string names;
  for (const siginfo_t& info : pending)
    names += (names.empty() ? "" : " ") + signal_name(info.si_signo);
  return names;
}

void print_thread(const ThreadImage& t, std::vector<std::string>& out) {
  const user_regs_struct& r = t.registers;
  out.push_back(fmt::format("  thread {} ({}): nice {}, blocked {}", t.tid, printable(t.name),
                            t.nice, signal_names(t.signal_mask)));
  if (!t.filters.empty())
    out.push_back(fmt::format("    seccomp filters {}", fmt::join(t.filters, ", ")));
  if (t.policy != 0 || t.disk_priority != 0)
    out.push_back(fmt::format("    asks for: scheduling class {:#x}, disk priority {:#x}", t.policy,
                              t.disk_priority));
  out.push_back(fmt::format("    rip {:016x}  rsp {:016x}  rbp {:016x}  flags {:x}", r.rip, r.rsp,
                            r.rbp, r.eflags));
  out.push_back(fmt::format("    rax {:016x}  rbx {:016x}  rcx {:016x}  rdx {:016x}", r.rax, r.rbx,
                            r.rcx, r.rdx));
  out.push_back(fmt::format("    rsi {:016x}  rdi {:016x}  r8  {:016x}  r9  {:016x}", r.rsi, r.rdi,
                            r.r8, r.r9));
  out.push_back(fmt::format("    r10 {:016x}  r11 {:016x}  r12 {:016x}  r13 {:016x}", r.r10, r.r11,
                            r.r12, r.r13));
  out.push_back(fmt::format("    r14 {:016x}  r15 {:016x}  fs  {:016x}  gs  {:016x}", r.r14, r.r15,
                            r.fs_base, r.gs_base));
  out.push_back(fmt::format("    extended state {}, rseq {:x}, robust list {:x}, tid address {:x}",
                            size_for_people(t.extended_state.size()), t.rseq.pointer, t.robust_list,
                            t.tid_address));
  if (t.stack_size)
    out.push_back(fmt::format("    alternate stack {:x}, {}", t.stack_pointer,
                              size_for_people(t.stack_size)));
  if (!t.pending.empty()) out.push_back("    pending: " + pending_names(t.pending));
}

std::string advice_names(uint8_t advice) {
  constexpr std::pair<Advice, std::string_view> kNames[] = {
      {Advice::dont_fork, " dont-fork"},
      {Advice::wipe_on_fork, " wipe-on-fork"},
      {Advice::dont_dump, " dont-dump"},
      {Advice::huge_pages, " huge-pages"},
      {Advice::no_huge_pages, " no-huge-pages"},
      {Advice::mergeable, " mergeable"},
      {Advice::locked, " locked"},
      {Advice::grows_down, " grows-down"}};
  std::string names;
  for (const auto& [flag, name] : kNames)
    if (advice & static_cast<uint8_t>(flag)) names += name;
  return names;
}

std::string line_of(const Image& image, const ProcessImage& p, const MappingImage& m) {
  const Rule rule = rule_for(m.kind, m.shared);
  std::string line =
      fmt::format("  {:012x}-{:012x} {}{}{}{} {:>10}  {:<8} {}", m.range.start, m.range.end,
                  m.protection & PROT_READ ? 'r' : '-', m.protection & PROT_WRITE ? 'w' : '-',
                  m.protection & PROT_EXEC ? 'x' : '-', m.shared ? 's' : 'p',
                  size_for_people(m.range.size()), word_of(rule.binding), rule.kind);
  if (m.kind == MappingKind::file)
    line += fmt::format(" {} from {:#x}", printable(p.files[m.file].path), m.offset);
  if (m.kind == MappingKind::object)
    line += fmt::format(" object {} ({}) from {:#x}", m.file, printable(image.objects[m.file].path),
                        m.offset);
  return line + advice_names(m.advice);
}

void print_signals(const ProcessImage& p, std::vector<std::string>& out) {
  uint64_t ignored = 0, handled = 0;
  for (size_t i = 0; i < p.actions.size(); i++) {
    const uint64_t handler = p.actions[i].handler, bit = uint64_t{1} << i;
    if (handler == reinterpret_cast<uint64_t>(SIG_IGN))
      ignored |= bit;
    else if (handler != 0)
      handled |= bit;
  }
  out.push_back(fmt::format("  signals: handled {}; ignored {}", signal_names(handled),
                            signal_names(ignored)));
  if (!p.pending.empty()) out.push_back("  pending: " + pending_names(p.pending));
}

void print_timers(const ProcessImage& p, std::vector<std::string>& out) {
  constexpr std::string_view kNames[] = {"real", "virtual", "profiling"};
  for (size_t i = 0; i < p.interval_timers.size(); i++) {
    const IntervalTimer& t = p.interval_timers[i];
    if (t.left_s || t.left_us || t.interval_s || t.interval_us)
      out.push_back(fmt::format("  interval timer {}: {}.{:06} s left, every {}.{:06} s", kNames[i],
                                t.left_s, t.left_us, t.interval_s, t.interval_us));
  }
  for (const TimerImage& t : p.timers)
    out.push_back(fmt::format("  timer {}: clock {}, signal {}, {}.{:09} s left, every {}.{:09} s",
                              t.id, t.clock, t.signal, t.left_s, t.left_ns, t.interval_s,
                              t.interval_ns));
}

void print_rights(const ProcessImage& p, std::vector<std::string>& out) {
  out.push_back(
      fmt::format("  personality {:#x}, dumpable {}, subreaper {}, parent-death signal {}",
                  p.personality, p.dumpable, p.subreaper, p.parent_death_signal));
  if (p.memory_score != kScoreAsGiven)
    out.push_back(fmt::format("  asks for: out-of-memory score {}", p.memory_score));
  const auto limit = [](uint64_t value) {
    return value == RLIM64_INFINITY ? "-" : std::to_string(value);
  };
  std::string limits;
  for (size_t i = 0; i < p.limits.size(); i++)
    limits += fmt::format(" {}:{}/{}", i, limit(p.limits[i].soft), limit(p.limits[i].hard));
  out.push_back("  limits:" + limits);
}

std::string_view stream_name(uint8_t external) {
  constexpr std::string_view kNames[] = {"input", "output", "errors", "terminal"};
  return external < std::size(kNames) ? kNames[external] : "unknown";
}

std::string flag_names(uint32_t flags) {
  constexpr std::pair<unsigned, std::string_view> kNames[] = {
      {O_APPEND, " append"}, {O_NONBLOCK, " non-blocking"}, {O_DIRECT, " direct"},
      {O_SYNC, " sync"},     {O_ASYNC, " async"},           {O_PATH, " path"}};
  const unsigned access = flags & O_ACCMODE;
  std::string names = access == O_RDONLY ? "read" : access == O_WRONLY ? "write" : "read-write";
  for (const auto& [flag, name] : kNames)
    if ((flags & flag) == flag) names += name;
  return names;
}

}  // namespace

void print_parts(const Image& image, const ProcessImage& p, std::vector<std::string>& out) {
  for (const ThreadImage& t : p.threads) print_thread(t, out);
  for (const MappingImage& m : p.mappings) out.push_back(line_of(image, p, m));
  for (const DescriptorImage& d : p.descriptors)
    out.push_back(fmt::format("  fd {}: description {}, {}{}", d.number, d.description,
                              line_of(image, image.descriptions[d.description]),
                              d.close_on_exec ? ", close-on-exec" : ""));
  print_signals(p, out);
  print_timers(p, out);
  print_rights(p, out);
  for (uint64_t page : p.pages) out.push_back(fmt::format("  page {:012x}", page));
}

std::string line_of(const Image& image, const Description& d) {
  const Rule rule = rule_for(d.kind);
  std::string line =
      fmt::format("{} ({}), {}", rule.kind, word_of(rule.binding), flag_names(d.flags));
  switch (d.kind) {
    case DescriptionKind::external:
      return line + fmt::format(", {}", stream_name(d.external));
    case DescriptionKind::pipe_read:
    case DescriptionKind::pipe_write:
    case DescriptionKind::pipe_both:
      return line + fmt::format(", pipe {} with {}", d.pipe,
                                size_for_people(image.pipes[d.pipe].content.size()));
    case DescriptionKind::object:
      return line + fmt::format(", object {} ({}) at {}", d.object,
                                printable(image.objects[d.object].path), d.position);
    case DescriptionKind::socket:
      return line + fmt::format(", socket {}", d.socket);
    case DescriptionKind::inet:
      return line + fmt::format(", network socket {}", d.socket);
    case DescriptionKind::pty_master:
    case DescriptionKind::pty_slave:
      return line + fmt::format(", pty {}", image.ptys[d.pty].number);
    case DescriptionKind::pidfd:
      return line + (d.of == 0 ? ", of one that has ended" : fmt::format(", of process {}", d.of));
    case DescriptionKind::eventfd:
      return line + fmt::format(", counter {}", d.value);
    case DescriptionKind::timerfd:
      return line + fmt::format(", clock {}, {}.{:09} s left", d.mode, d.left_s, d.left_ns);
    case DescriptionKind::signalfd:
      return line + fmt::format(", {}", signal_names(d.value));
    case DescriptionKind::inotify:
      for (const WatchImage& watch : d.watches)
        line += fmt::format(", {} {}", watch.number, printable(watch.path));
      return line;
    case DescriptionKind::epoll:
      return line + fmt::format(", watches {}", d.watched.size());
    default:
      return d.path.empty() ? line
                            : line + fmt::format(", {} at {}", printable(d.path), d.position);
  }
}

std::string line_of(const ObjectImage& o) {
  uint64_t inside = 0;
  for (const ObjectPiece& piece : o.pieces) inside += piece.content.size();
  return fmt::format("{} {}, {}, mode {:03o}, seals {:#x}, {}",
                     o.huge                         ? "memory of huge pages"
                     : o.kind == ObjectKind::memory ? "memory"
                                                    : "file",
                     printable(o.path), size_for_people(o.size), o.mode, o.seals,
                     o.streamed ? "its pages come with the page stream"
                                : size_for_people(inside) + " in the image");
}

std::string line_of(const PipeImage& p) {
  return fmt::format("{}{}{} in it, of at most {}", printable(p.path), p.path.empty() ? "" : ": ",
                     size_for_people(p.content.size()), size_for_people(p.capacity));
}

std::string line_of(const PtyImage& p) {
  return fmt::format("/dev/pts/{}: {} rows, {} columns, foreground group {}, {} typed, {} printed",
                     p.number, p.rows, p.columns, p.foreground, size_for_people(p.typed.size()),
                     size_for_people(p.printed.size()));
}

std::string line_of(const Image& image, const LockImage& lock) {
  const std::string_view kind = lock.kind == LockKind::flock   ? "flock"
                                : lock.kind == LockKind::posix ? "POSIX"
                                                               : "OFD";
  const std::string last = lock.end == kLockToEnd ? "the end" : std::to_string(lock.end);
  return fmt::format("{}, {}, bytes {} to {}, fd {} of process {}", kind,
                     lock.write ? "exclusive" : "shared", lock.start, last, lock.descriptor,
                     image.processes[lock.process].pid);
}

// An abstract name starts with a zero byte; people write @.
static std::string name_of(const SocketImage& s) {
  return s.name[0] == '\0' ? "@" + printable(s.name.substr(1)) : printable(s.name);
}

std::string line_of(const SocketImage& s) {
  uint64_t waiting = 0;
  for (const Bytes& message : s.queue) waiting += message.size();
  return fmt::format("{}, {}, {} in {} waiting{}",
                     s.type == SOCK_STREAM  ? "stream"
                     : s.type == SOCK_DGRAM ? "datagrams"
                                            : "packets",
                     s.state == SocketState::listening ? "listens"
                     : s.state == SocketState::single  ? "not connected"
                     : s.peer < 0                      ? "its other end is closed"
                                                       : fmt::format("to socket {}", s.peer),
                     size_for_people(waiting),
                     s.queue.size() == 1 ? "1 message" : fmt::format("{} messages", s.queue.size()),
                     s.name.empty() ? "" : ", is " + name_of(s));
}

std::string line_of(const InetImage& s) {
  std::string line = s.type == SOCK_STREAM ? "TCP" : "UDP";
  if (s.local.port != 0) line += " at " + s.local.text();
  switch (s.state) {
    case InetState::fresh:
      return line + ", not connected";
    case InetState::listening:
      return line + ", listens";
    case InetState::ended:
      line += ", has ended";
      break;
    case InetState::connected:
      line += " to " + s.remote.text();
      if (s.type == SOCK_STREAM)
        line += s.peer < 0 ? ", its other end is closed" : fmt::format(", socket {}", s.peer);
  }
  return line + fmt::format(", {} waiting", size_for_people(s.queue.size()));
}

}  // namespace hob::migrate
