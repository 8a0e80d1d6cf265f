#include "migrate/image_check.h"

#include <sched.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include <algorithm>
#include <csignal>
#include <set>

#include "migrate/huge_pages.h"
#include "migrate/page_stream.h"

namespace hob::migrate {

Error invalid(const char* what) {
  return Error{std::string("read the image: ") + what + "; it is damaged or hostile", EBADMSG};
}

const Description* find_description(const Image& image, uint32_t process, int32_t descriptor) {
  if (process >= image.processes.size()) return nullptr;
  for (const DescriptorImage& d : image.processes[process].descriptors)
    if (d.number == descriptor) return &image.descriptions[d.description];
  return nullptr;
}

namespace {

bool within_user_space(const Range& r) {
  return r.start < r.end && r.end <= kUserEnd && r.start % kPage == 0 && r.end % kPage == 0;
}

// Highest pid the kernel can ever give (PID_MAX_LIMIT).
constexpr pid_t kMaxPid = 4 << 20;
bool good_pid(pid_t pid) {
  return pid > 1 && pid <= kMaxPid;
}

// A sandbox has numbers of its own, from 0 on.
constexpr int32_t kMostPtys = 256;

}  // namespace

Result<void> check_form(const Tree& tree) {
  if (tree.empty() || tree[0].parent != 0 || tree[0].zombie) return invalid("its tree has no root");
  std::set<pid_t> seen;
  for (size_t i = 0; i < tree.size(); i++) {
    const TreeNode& node = tree[i];
    if (!good_pid(node.pid) || !seen.insert(node.pid).second)
      return invalid("its tree has a bad pid");
    if (node.group < 0 || node.group > kMaxPid || node.session < 0 || node.session > kMaxPid)
      return invalid("its tree has a bad group");
    if (node.terminal > 1 || node.pty < -1 || node.pty >= kMostPtys)
      return invalid("its tree has a bad terminal");
    if (node.exit_signal > 64) return invalid("its tree has an impossible signal");
    if (i > 0 && node.parent != 1 && (node.parent == node.pid || !seen.count(node.parent)))
      return invalid("its tree has a process without parent");
  }
  return {};
}

namespace {

// One or two pages of code on the kernels there are.
constexpr size_t kMostVdso = 1 << 20;

bool good_policy(uint32_t policy) {
  const auto base = policy & ~static_cast<uint32_t>(SCHED_RESET_ON_FORK);
  return base == SCHED_OTHER || base == SCHED_BATCH || base == SCHED_IDLE;
}

// 0, or class best-effort (2) or idle (3).
bool good_disk_priority(uint16_t priority) {
  return priority == 0 || priority >> kernel::kIoprioClassShift == 2 ||
         priority >> kernel::kIoprioClassShift == 3;
}

bool can_be_waited_in(uint32_t call) {
  return call == SYS_poll || call == SYS_nanosleep || call == SYS_futex ||
         call == SYS_clock_nanosleep;
}

// seccomp(2), BPF_MAXINSNS, and MAX_INSNS_PER_PATH of the kernel.
constexpr size_t kInstruction = 8, kMostInstructions = 4096, kMostOfChain = 32768;

Result<void> check_filters(const Image& image, const ThreadImage& thread) {
  size_t instructions = 0;
  for (const uint32_t filter : thread.filters) {
    if (filter >= image.filters.size()) return invalid("a thread has no such filter");
    instructions += image.filters[filter].code.size() / kInstruction;
    if (instructions > kMostOfChain) return invalid("a thread has too many filters");
  }
  return {};
}

Result<void> check_process(const Image& image, const ProcessImage& p, std::set<pid_t>& tids) {
  if (p.threads.empty() || p.threads[0].tid != p.pid) return invalid("a process has no leader");
  for (const ThreadImage& t : p.threads) {
    if (!good_pid(t.tid) || !tids.insert(t.tid).second) return invalid("a thread has a bad id");
    if (t.nice < -20 || t.nice > 19 || t.processors.size() > sizeof(cpu_set_t))
      return invalid("a thread's scheduling is malformed");
    if (!good_policy(t.policy) || !good_disk_priority(t.disk_priority))
      return invalid("a thread asks for more than a guest may");
    if (t.wait_end < 0 || (t.wait_end > 0 && !can_be_waited_in(t.wait_call)))
      return invalid("a thread waits in an impossible call");
    for (uint8_t s : t.speculation)
      if (s > 31) return invalid("a thread's settings are impossible");
    if (t.keep_capabilities > 1 || t.no_time_stamps > 1 || t.no_cpuid > 1)
      return invalid("a thread's settings are impossible");
    if (t.name.size() > 15) return invalid("a thread's name is too long");
    TRY(check_filters(image, t));
    if (t.extended_state.size() < 576 || t.extended_state.size() > 65536)
      return invalid("a thread's extended state has an impossible size");
  }
  if (p.no_huge_pages > 3 || p.merge_memory > 1 || p.memory_error_policy > 2)
    return invalid("a process's settings are impossible");
  if ((p.stop_signal != 0 && (p.stop_signal < SIGSTOP || p.stop_signal > SIGTTOU)) ||
      (p.untold == Untold::stopped && p.stop_signal == 0) ||
      (p.untold == Untold::continued && p.stop_signal != 0))
    return invalid("a process is stopped in an impossible way");
  if (p.vdso >= image.vdsos.size()) return invalid("a process has no vdso");
  uint64_t last = 0;
  size_t vdsos = 0;
  for (const MappingImage& m : p.mappings) {
    if (!within_user_space(m.range) || m.range.start < last)
      return invalid("a mapping is misplaced");
    last = m.range.end;
    if (m.protection > 7 || m.shared > 1 || m.offset % kPage)
      return invalid("a mapping is malformed");
    if (m.kind == MappingKind::file      ? m.file >= p.files.size()
        : m.kind == MappingKind::object  ? m.file >= image.objects.size()
        : m.kind == MappingKind::segment ? m.file >= image.ipc.segments.size() || !m.shared
                                         : m.shared)
      return invalid("a mapping has no file");
    if (m.kind == MappingKind::huge && (m.range.start % kHugePage || m.range.end % kHugePage))
      return invalid("a mapping of huge pages is malformed");
    if (m.kind == MappingKind::object && !m.shared && image.objects[m.file].streamed)
      return invalid("private pages of an object that is streamed");
    if (m.kind != MappingKind::vdso) continue;
    vdsos++;
    if (m.range.size() != image.vdsos[p.vdso].size()) return invalid("a vdso is malformed");
  }
  if (vdsos != 1) return invalid("a process has no vdso");
  if (p.executable >= (p.executable_is_object ? image.objects.size() : p.files.size()))
    return invalid("a process has no executable");
  for (const FileImage& f : p.files)
    if (f.path.empty() || f.path[0] != '/' || f.path.find('\0') != std::string::npos)
      return invalid("a file's path is not absolute");
  if (p.directory.empty() || p.directory[0] != '/') return invalid("a directory is not absolute");
  if (p.page_bytes.size() != p.pages.size() * kPage) return invalid("its pages do not add up");
  size_t m = 0;
  for (size_t i = 0; i < p.pages.size(); i++) {
    if (i > 0 && p.pages[i] <= p.pages[i - 1]) return invalid("its pages are not ascending");
    while (m < p.mappings.size() && p.mappings[m].range.end <= p.pages[i]) m++;
    if (p.pages[i] % kPage || m == p.mappings.size() || !p.mappings[m].range.contains(p.pages[i]) ||
        p.mappings[m].shared || p.mappings[m].kind >= MappingKind::vdso)
      return invalid("a page lies outside private memory");
  }
  int32_t last_number = -1;
  for (const DescriptorImage& d : p.descriptors) {
    if (d.number <= last_number || d.number > (1 << 20) ||
        d.description >= image.descriptions.size())
      return invalid("a descriptor is malformed");
    last_number = d.number;
  }
  if (p.limits.size() > 16) return invalid("it has too many limits");
  // What start() gives: with more it could get ahead of the owner.
  for (const size_t resource : {RLIMIT_NICE, RLIMIT_RTPRIO})
    if (resource < p.limits.size() &&
        (p.limits[resource].soft != 0 || p.limits[resource].hard != 0))
      return invalid("a process may do more than a guest may");
  if (p.memory_score != kScoreAsGiven && (p.memory_score < -1000 || p.memory_score > 1000))
    return invalid("a process's settings are impossible");
  if (p.auxv.size() % 16 || p.auxv.size() > 8192)
    return invalid("the auxiliary vector is malformed");
  for (const TimerImage& t : p.timers)
    if (t.id < 0 || t.signal < 0 || t.signal > 64) return invalid("a timer is malformed");
  return {};
}

Result<void> check_name(const Image& image, const SocketImage& s) {
  constexpr size_t kLongest = 108;  // sun_path, unix(7)
  const bool path = !s.name.empty() && s.name[0] != '\0';
  if (s.name.size() > kLongest || (path && s.name.find('\0') != std::string::npos) ||
      s.has_file > (path ? 1 : 0) || s.mode > 0777)
    return invalid("a socket's name is malformed");
  if (s.name.empty())
    return s.state == SocketState::listening ? invalid("nobody can connect") : Result<void>();
  const Description* d = find_description(image, s.process, s.descriptor);
  if (d == nullptr || d->kind != DescriptionKind::socket || d->socket >= image.sockets.size() ||
      &image.sockets[d->socket] != &s)
    return invalid("a socket's name is of no descriptor");
  return {};
}

Result<void> check_sockets(const Image& image) {
  for (size_t i = 0; i < image.sockets.size(); i++) {
    const SocketImage& s = image.sockets[i];
    if ((s.type != SOCK_STREAM && s.type != SOCK_DGRAM && s.type != SOCK_SEQPACKET) ||
        s.shutdown > 3 || s.pass_credentials > 1 || s.send_timeout < 0 || s.receive_timeout < 0 ||
        s.low_water < 1 || s.low_water > INT32_MAX)
      return invalid("a socket is malformed");
    TRY(check_name(image, s));
    if (s.state != SocketState::pair && (s.peer != -1 || !s.queue.empty()))
      return invalid("a socket without a peer has one");
    if (s.state == SocketState::listening && s.type == SOCK_DGRAM)
      return invalid("a socket that listens cannot");
    if (s.peer == -1) continue;
    const auto peer = static_cast<size_t>(s.peer);
    if (s.peer < 0 || peer >= image.sockets.size() || peer == i ||
        image.sockets[peer].peer != static_cast<int32_t>(i) || image.sockets[peer].type != s.type)
      return invalid("a socket's other end is not its own");
  }
  return {};
}

constexpr size_t kMaxObjects = 4096;
constexpr uint64_t kMaxObject = uint64_t{1} << 43;  // page_stream.h numbers their pages in 44 bits

Result<void> check_watches(const Description& d) {
  int32_t last = 0;
  for (const WatchImage& watch : d.watches) {
    if (watch.number <= last || watch.number > kMostWatch || watch.path.empty() ||
        watch.path[0] != '/' || watch.path.find('\0') != std::string::npos)
      return invalid("a watch is malformed");
    last = watch.number;
  }
  return {};
}

Result<void> check_objects(const Image& image) {
  if (image.objects.size() > kMaxObjects) return invalid("it has too many objects");
  for (const ObjectImage& o : image.objects) {
    if (o.size > kMaxObject || o.mode > 0777 || o.path.find('\0') != std::string::npos)
      return invalid("an object is malformed");
    if (o.kind == ObjectKind::file ? o.streamed || o.path.empty() || o.path[0] != '/'
                                   : o.streamed > 1)
      return invalid("an object is malformed");
    if (o.huge > 1 ||
        (o.huge && (o.kind != ObjectKind::memory || o.streamed || o.size % kHugePage != 0)))
      return invalid("an object of huge pages is malformed");
    for (const ObjectPiece& piece : o.pieces)
      if (o.streamed || piece.offset > o.size || piece.content.size() > o.size - piece.offset)
        return invalid("an object's content lies outside it");
  }
  return {};
}

Result<void> check_ptys(const Image& image) {
  int64_t last = -1;
  std::set<int32_t> numbers;
  for (const PtyImage& pty : image.ptys) {
    constexpr size_t kMostBytes = 1u << 20, kTermios2 = 44;
    if (pty.number <= last || pty.number >= kMostPtys) return invalid("a pty has a bad number");
    last = pty.number;
    numbers.insert(static_cast<int32_t>(pty.number));
    if (pty.locked > 1 || pty.packets > 1 || pty.hung_up > 1 || pty.foreground < 0 ||
        pty.foreground > kMaxPid || pty.settings.size() != kTermios2 ||
        pty.typed.size() > kMostBytes || pty.printed.size() > kMostBytes)
      return invalid("a pty is malformed");
  }
  for (const TreeNode& node : image.tree)
    if (node.pty >= 0 && !numbers.count(node.pty)) return invalid("a terminal is not there");
  return {};
}

Result<void> check_locks(const Image& image) {
  constexpr size_t kMaxLocks = 1u << 16;
  if (image.locks.size() > kMaxLocks) return invalid("it has too many locks");
  for (const LockImage& lock : image.locks) {
    if (find_description(image, lock.process, lock.descriptor) == nullptr)
      return invalid("a lock has no file");
    const bool whole = lock.start == 0 && lock.end == kLockToEnd;
    if (lock.write > 1 || lock.start > lock.end || lock.end > kLockToEnd ||
        (lock.kind == LockKind::flock && !whole))
      return invalid("a lock is malformed");
  }
  return {};
}

}  // namespace

namespace {

bool good_pieces(const std::vector<ObjectPiece>& pieces, uint64_t size) {
  return std::all_of(pieces.begin(), pieces.end(), [&](const ObjectPiece& piece) {
    return piece.offset <= size && piece.content.size() <= size - piece.offset;
  });
}

// What the kernel gives at most: IPCMNI_EXTEND ids, SEMMSL semaphores of a set (semget(2)).
constexpr size_t kMostThings = 4096, kMostSemaphores = 32000, kMostMessage = 1 << 24;

Result<void> check_ipc(const IpcImage& ipc) {
  const Error bad = invalid("what its processes share by name is malformed");
  if (ipc.segments.size() > kMostThings || ipc.semaphores.size() > kMostThings ||
      ipc.queues.size() > kMostThings || ipc.files.size() > kMostThings)
    return bad;
  for (const SegmentImage& s : ipc.segments)
    if (s.id < 0 || s.mode > 0777 || s.removed > 1 || s.size == 0 || s.size > kMaxImage ||
        !good_pieces(s.pieces, s.size))
      return bad;
  for (const SemaphoresImage& s : ipc.semaphores)
    if (s.id < 0 || s.mode > 0777 || s.values.empty() || s.values.size() > kMostSemaphores)
      return bad;
  for (const QueueImage& q : ipc.queues) {
    if (q.id < 0 || q.mode > 0777) return bad;
    for (const MessageImage& message : q.messages)
      if (message.type <= 0 || message.content.size() > kMostMessage) return bad;
  }
  for (const SharedFileImage& f : ipc.files)
    if (f.name.empty() || f.name.size() > 255 || f.name == "." || f.name == ".." ||
        f.name.find('/') != f.name.npos || f.name.find('\0') != f.name.npos || f.mode > 0777 ||
        f.size > kMaxObject || f.modified < 0 || !good_pieces(f.pieces, f.size))
      return bad;
  return {};
}

}  // namespace

Result<void> check_form(const Image& image) {
  TRY(check_form(image.tree));
  if (image.vdsos.size() > image.processes.size() + 1) return invalid("it has too many vdsos");
  for (const Bytes& vdso : image.vdsos)
    if (vdso.empty() || vdso.size() % kPage || vdso.size() > kMostVdso)
      return invalid("a vdso is malformed");
  for (const FilterImage& filter : image.filters)
    if (filter.code.empty() || filter.code.size() % kInstruction ||
        filter.code.size() / kInstruction > kMostInstructions || filter.log > 1)
      return invalid("a filter is malformed");
  size_t next = 0;
  std::set<pid_t> tids;
  for (const TreeNode& node : image.tree) {
    if (node.zombie) continue;
    if (next == image.processes.size() || image.processes[next].pid != node.pid)
      return invalid("its processes are not those of its tree");
    TRY(check_process(image, image.processes[next++], tids));
  }
  if (next != image.processes.size()) return invalid("its processes are not those of its tree");
  for (const Description& d : image.descriptions) {
    const bool pipe = d.kind == DescriptionKind::pipe_read ||
                      d.kind == DescriptionKind::pipe_write || d.kind == DescriptionKind::pipe_both;
    if (pipe && d.pipe >= image.pipes.size()) return invalid("a descriptor has no pipe");
    if (d.kind == DescriptionKind::object &&
        (d.object >= image.objects.size() || image.objects[d.object].streamed))
      return invalid("a descriptor has no object");
    if (d.kind == DescriptionKind::socket && d.socket >= image.sockets.size())
      return invalid("a descriptor has no socket");
    if (d.kind == DescriptionKind::inet && d.socket >= image.inet_sockets.size())
      return invalid("a descriptor has no socket");
    if ((d.kind == DescriptionKind::pty_master || d.kind == DescriptionKind::pty_slave) &&
        d.pty >= image.ptys.size())
      return invalid("a descriptor has no pty");
    if (d.kind == DescriptionKind::external && d.external > 3)
      return invalid("an external is unknown");
    TRY(check_watches(d));
    if (d.of != 0 && !good_pid(d.of)) return invalid("a pidfd is of nobody");
    if (d.owner_type > 3 || d.owner_signal > 64 || (d.owner_type > 0 && !good_pid(d.owner_number)))
      return invalid("the owner of a descriptor is malformed");
    if (d.path.find('\0') != std::string::npos) return invalid("a path has a zero byte");
  }
  TRY(check_objects(image));
  TRY(check_ipc(image.ipc));
  TRY(check_sockets(image));
  TRY(check_inet(image));
  TRY(check_locks(image));
  TRY(check_ptys(image));
  for (const PipeImage& p : image.pipes)
    if (p.content.size() > (64u << 20) || p.capacity > (64u << 20))
      return invalid("a pipe is too big");
    else if ((!p.path.empty() && p.path[0] != '/') || p.path.find('\0') != std::string::npos ||
             p.hung_up > 1)
      return invalid("a named pipe is malformed");
  return {};
}

Result<void> check_form(const std::vector<CheckpointIndex::Owner>& owners) {
  std::set<uint32_t> seen;
  for (const CheckpointIndex::Owner& owner : owners) {
    if (!stream::valid(owner.process) || !seen.insert(owner.process).second)
      return invalid("its pages belong to an impossible process");
    uint64_t end = 0;
    for (const Range& r : owner.populated) {
      if (!stream::valid(owner.process, r) || r.start < end)
        return invalid("its page map is damaged");
      end = r.end;
    }
    end = 0;
    for (const auto& e : owner.extents) {
      if (e.size > ~e.address || e.address < end || e.offset % kPage ||
          !stream::valid(owner.process, {e.address, e.address + e.size}))
        return invalid("its pages have impossible places");
      end = e.address + e.size;
    }
  }
  return {};
}

}  // namespace hob::migrate
