#pragma once

#include <sys/types.h>
#include <sys/user.h>

#include <array>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "migrate/cpu_features.h"
#include "migrate/inet_image.h"
#include "migrate/kernel.h"
#include "migrate/ranges.h"
#include "migrate/strategy.h"
#include "migrate/types.h"

/// The image of a process tree: everything but the pages (the few hot ones excepted).
///
/// Numbers of processes and threads are those inside the sandbox. Credentials are not in it: the
/// target takes them from the vouched-for user. Whoever decodes an image must take every value for
/// hostile; decode() checks form, ranges and references, so that what comes out can be walked
/// without further checks, but paths, addresses and flags in it are still the sender's wish, to be
/// carried out with the user's rights alone.
namespace hob::migrate {

using Bytes = std::vector<std::byte>;

/// No image is larger: pages that must travel in it (changed copies of file pages) are the bulk of
/// it.
inline constexpr size_t kMaxImage = 1u << 30;

/// Where one process stands in the tree. All the target needs to prepare.
struct TreeNode {
  pid_t pid = 0;
  pid_t parent = 0;  ///< 0: the starter (the root alone), 1: the sandbox's init (an orphan)
  pid_t group = 0, session = 0;
  uint8_t terminal = 0;           ///< its controlling terminal is the starter's
  uint8_t zombie = 0;             ///< ended, not yet reaped by its parent
  int32_t exit_code = 0;          ///< of a zombie, as wait(2) will tell it
  uint8_t exit_signal = SIGCHLD;  ///< what its end sends to its parent (clone(2)); 0: nothing
  int32_t pty = -1;  ///< its controlling terminal is this one of Image::ptys, by number
  bool operator==(const TreeNode&) const = default;
};
using Tree = std::vector<TreeNode>;  ///< the root first, parents before children

struct ThreadImage {
  pid_t tid = 0;
  std::string name;
  user_regs_struct registers = {};  ///< an interrupted system call is in a form the kernel restarts
  Bytes extended_state;             ///< NT_X86_XSTATE as the source's processor lays it out
  uint64_t signal_mask = 0;
  kernel::RseqConfiguration rseq = {};
  uint64_t robust_list = 0, robust_size = 0;
  uint64_t tid_address = 0;
  uint64_t stack_pointer = 0, stack_size = 0;  ///< sigaltstack(2)
  uint32_t stack_flags = 0;
  std::vector<siginfo_t> pending;
  /// A wait that ends at a time and of which the kernel has a note (waits.h): the number of the
  /// call and when the guest's CLOCK_MONOTONIC says that it is over, in ns; 0: none, or start it
  /// again.
  uint32_t wait_call = 0;
  int64_t wait_end = 0;
  uint64_t timer_slack = 0;                 ///< PR_SET_TIMERSLACK, ns; 0: not known
  std::array<uint8_t, 3> speculation = {};  ///< PR_SPEC_ENABLE and its kin, of part_settings.cc's
                                            ///< list; 0: not the thread's to decide
  uint8_t keep_capabilities = 0, no_time_stamps = 0, no_cpuid = 0;  ///< 1: PR_SET_KEEPCAPS, ...
  int8_t nice = 0;
  Bytes processors;     ///< a cpu_set_t, as a wish; empty: all
  uint32_t policy = 0;  ///< SCHED_OTHER, _BATCH or _IDLE, with SCHED_RESET_ON_FORK; as a wish
  uint16_t disk_priority = 0;     ///< ioprio_set(2), as a wish; 0: none
  std::vector<uint32_t> filters;  ///< indices into Image::filters, the oldest first
};

/// A seccomp filter of the guest's own; see filters.h.
struct FilterImage {
  Bytes code;       ///< struct sock_filter, one after the other
  uint8_t log = 0;  ///< SECCOMP_FILTER_FLAG_LOG
  bool operator==(const FilterImage&) const = default;
};

/// ProcessImage::memory_score of a process that has not set its own.
inline constexpr int16_t kScoreAsGiven = INT16_MIN;

struct FileImage {
  std::string path;
  uint64_t size = 0;
  int64_t modified = 0;  ///< mtime in ns; the target refuses to map another file of the same name
  bool operator==(const FileImage&) const = default;
};

enum class MappingKind : uint8_t {
  anonymous = 0,
  stack,
  file,
  object,
  huge,  ///< private memory of huge pages (huge_pages.h)
  vdso,
  vvar,
  vvar_clock,
  segment,  ///< System V shared memory, attached
  last = segment
};

struct MappingImage {
  Range range;
  MappingKind kind = MappingKind::anonymous;
  uint8_t protection = 0;  ///< PROT_*
  uint8_t shared = 0;
  uint8_t advice = 0;  ///< set of Advice
  uint32_t file = 0;   ///< index into ProcessImage::files, or for MappingKind::object
                       ///< Image::objects, or for MappingKind::segment IpcImage::segments
  uint64_t offset = 0;
};

struct DescriptorImage {
  int32_t number = 0;
  uint32_t description = 0;  ///< index into Image::descriptions
  uint8_t close_on_exec = 0;
  bool operator==(const DescriptorImage&) const = default;
};

struct TimerImage {
  int32_t id = 0, clock = 0, signal = 0;
  uint8_t notify = 0;  ///< SIGEV_*
  pid_t thread = 0;    ///< SIGEV_THREAD_ID
  uint64_t value = 0;
  int64_t interval_s = 0, interval_ns = 0, left_s = 0, left_ns = 0;
};

struct IntervalTimer {
  int64_t interval_s = 0, interval_us = 0, left_s = 0, left_us = 0;
};

struct ResourceLimit {
  uint64_t soft = 0, hard = 0;
};

/// What the parent of a process has not been told by wait(2).
enum class Untold : uint8_t { nothing = 0, stopped, continued, last = continued };

/// Whether what a process maps from now on is locked (mlockall(2)): with all its pages at once, or
/// as they are touched.
enum class LockFuture : uint8_t { no = 0, at_once, on_fault, last = on_fault };

struct ProcessImage {
  pid_t pid = 0;
  std::vector<ThreadImage> threads;  ///< the leader first

  kernel::MemoryMap memory_map = {};  ///< auxv and exe_fd unused
  Bytes auxv;
  std::vector<FileImage> files;
  uint32_t executable = 0;  ///< index into files, or into Image::objects
  uint8_t executable_is_object = 0;
  std::vector<MappingImage> mappings;  ///< ascending, disjoint
  uint32_t vdso = 0;                   ///< index into Image::vdsos
  /// Pages that must be there before the process runs: changed pages of private file mappings, and
  /// what the first instructions and the kernel touch. The bytes lie in the buffer that was
  /// decoded.
  std::vector<uint64_t> pages;
  std::span<const std::byte> page_bytes;

  std::vector<DescriptorImage> descriptors;
  std::string directory;
  uint32_t umask = 022;

  std::array<kernel::SignalAction, 64> actions = {};
  std::vector<siginfo_t> pending;
  std::array<IntervalTimer, 3> interval_timers = {};
  std::vector<TimerImage> timers;

  LockFuture lock_future = LockFuture::no;
  uint8_t no_huge_pages = 0;          ///< PR_GET_THP_DISABLE
  uint8_t merge_memory = 0;           ///< PR_SET_MEMORY_MERGE
  uint8_t memory_error_policy = 2;    ///< PR_MCE_KILL_*; 2: as the host has it
  std::vector<ResourceLimit> limits;  ///< index is RLIMIT_*
  uint32_t personality = 0;
  uint8_t dumpable = 1, subreaper = 0;
  int32_t parent_death_signal = 0;
  uint64_t permitted_state = 0;  ///< dynamic components it has asked for: ARCH_GET_XCOMP_PERM
  uint8_t stop_signal = 0;       ///< by which it is stopped; 0: it is not
  Untold untold = Untold::nothing;
  int16_t memory_score = kScoreAsGiven;  ///< oom_score_adj, as a wish
};

/// `name` is what O_PATH opens: a place in the file tree, of whatever type.
enum class DescriptionKind : uint8_t {
  regular = 0,
  directory,
  device,
  pipe_read,
  pipe_write,
  external,
  terminal,
  object,
  socket,
  eventfd,
  timerfd,
  signalfd,
  epoll,
  pipe_both,
  name,
  pty_master,
  pty_slave,
  pidfd,
  inotify,
  inet,
  last = inet
};

inline bool is_pipe(DescriptionKind kind) {
  return kind == DescriptionKind::pipe_read || kind == DescriptionKind::pipe_write ||
         kind == DescriptionKind::pipe_both;
}

/// Numbers of inotify watches are made one by one.
inline constexpr int32_t kMostWatch = 1 << 16;
struct WatchImage {
  int32_t number = 0;
  uint32_t mask = 0;  ///< IN_*
  std::string path;
  bool operator==(const WatchImage&) const = default;
};

struct EpollEntry {
  int32_t number = 0;
  uint32_t events = 0;
  uint64_t data = 0;
  bool operator==(const EpollEntry&) const = default;
};

/// An open file description: shared by all descriptors that came of one open(2).
struct Description {
  DescriptionKind kind = DescriptionKind::regular;
  uint32_t flags = 0;      ///< O_*, without O_CLOEXEC
  uint64_t position = 0;   ///< regular, directory
  std::string path;        ///< regular, directory, device
  uint32_t pipe = 0;       ///< index into Image::pipes
  uint32_t object = 0;     ///< index into Image::objects
  uint32_t socket = 0;     ///< index into Image::sockets, or of inet Image::inet_sockets
  uint32_t pty = 0;        ///< index into Image::ptys
  uint8_t external = 0;    ///< External::Kind
  uint64_t value = 0;      ///< eventfd: counter; signalfd: mask; timerfd: expirations not yet read
  uint32_t mode = 0;       ///< eventfd: EFD_SEMAPHORE; timerfd: clock; name: S_IFMT
  uint32_t arm_flags = 0;  ///< timerfd: TFD_TIMER_*
  int64_t interval_s = 0, interval_ns = 0, left_s = 0, left_ns = 0;  ///< timerfd
  std::vector<EpollEntry> watched;
  std::vector<WatchImage> watches;  ///< inotify; by number, ascending
  pid_t owner = 0;         ///< the process in whose numbers `watched` and signals on input are told
  pid_t of = 0;            ///< pidfd: which process; 0: one that has ended and been reaped
  uint8_t owner_type = 0;  ///< of signals on input: 0 nobody, else F_OWNER_* of fcntl(2), plus 1
  pid_t owner_number = 0;
  uint32_t owner_signal = 0;  ///< F_SETSIG
  bool operator==(const Description&) const = default;
};

enum class ObjectKind : uint8_t { memory = 0, file, last = file };

struct ObjectPiece {
  uint64_t offset = 0;
  Bytes content;
};

/// An inode that no path leads to; see objects.h.
struct ObjectImage {
  ObjectKind kind = ObjectKind::memory;
  std::string path;  ///< memory: its name; file: where it was before it was deleted
  uint64_t size = 0;
  uint32_t mode = 0;
  uint32_t seals = 0;               ///< F_SEAL_*, of memory
  uint8_t huge = 0;                 ///< memory of huge pages (huge_pages.h)
  uint8_t streamed = 0;             ///< its pages come with the page stream
  std::vector<ObjectPiece> pieces;  ///< else: everything in it that is not zero
};

struct PipeImage {
  std::string path;                ///< of a named one; see fifos.h
  uint8_t hung_up = 0;             ///< named: it has had a writer and has none
  uint64_t device = 0, inode = 0;  ///< named: of the file, as the source's kernel counts
  uint32_t capacity = 0;
  Bytes content;
};

/// `pair`: one end of a connected pair, the other one may be closed; `single`: never connected.
enum class SocketState : uint8_t { pair = 0, single, listening, last = listening };

/// A unix socket; see sockets.h and names.h.
struct SocketImage {
  uint8_t type = 0;  ///< SOCK_STREAM, SOCK_DGRAM or SOCK_SEQPACKET
  SocketState state = SocketState::pair;
  std::string name;        ///< as in sun_path; a path without its last zero
  uint8_t has_file = 0;    ///< the file of that path is this socket's, not of one it shares it with
  uint64_t inode = 0;      ///< of that file
  uint32_t mode = 0;       ///< of that file
  uint32_t backlog = 0;    ///< listening
  uint32_t process = 0;    ///< index into Image::processes: one that has it
  int32_t descriptor = 0;  ///< there
  int32_t peer = -1;       ///< index into Image::sockets; -1: closed
  uint8_t shutdown = 0;    ///< 1: no more is read, 2: no more is written
  uint8_t pass_credentials = 0;
  uint32_t send_buffer = 0, receive_buffer = 0;   ///< as getsockopt(2) tells
  int64_t send_timeout = 0, receive_timeout = 0;  ///< SO_SNDTIMEO, SO_RCVTIMEO, us; 0: none
  uint32_t low_water = 1;                         ///< SO_RCVLOWAT
  std::vector<Bytes> queue;                       ///< messages that wait to be read
};

enum class LockKind : uint8_t { flock = 0, posix, ofd, last = ofd };
/// The end of a lock that reaches to the end of the file, wherever that is.
inline constexpr uint64_t kLockToEnd = INT64_MAX;

/// A file lock; see locks.h.
struct LockImage {
  LockKind kind = LockKind::flock;
  uint8_t write = 0;
  uint32_t process = 0;    ///< index into Image::processes: whose it is, or who has the description
  int32_t descriptor = 0;  ///< there
  uint64_t start = 0, end = kLockToEnd;  ///< bytes, the last one included; flock: all
};

/// A pty whose master the tree has; see ptys.h.
struct PtyImage {
  uint32_t number = 0;  ///< of /dev/pts/N
  uint8_t locked = 0, packets = 0;
  uint8_t hung_up = 0;   ///< the slave has been open and is not
  pid_t foreground = 0;  ///< process group; 0: none of the tree's
  Bytes settings;        ///< struct termios as TCGETS2 gives it
  uint16_t rows = 0, columns = 0, width = 0, height = 0;
  std::string typed;    ///< written to the master, not yet read from the slave
  std::string printed;  ///< the other way
};

struct SegmentImage {
  int32_t id = 0, key = 0;
  uint32_t mode = 0;
  uint64_t size = 0;
  uint8_t removed = 0;  ///< goes when the last process detaches it
  std::vector<ObjectPiece> pieces;
};
struct SemaphoresImage {
  int32_t id = 0, key = 0;
  uint32_t mode = 0;
  std::vector<uint16_t> values;
};
struct MessageImage {
  int64_t type = 0;
  Bytes content;
};
struct QueueImage {
  int32_t id = 0, key = 0;
  uint32_t mode = 0;
  uint64_t capacity = 0;  ///< bytes
  std::vector<MessageImage> messages;
};
struct SharedFileImage {
  std::string name;  ///< in /dev/shm
  uint32_t mode = 0;
  uint64_t size = 0;
  int64_t modified = 0;  ///< ns
  std::vector<ObjectPiece> pieces;
};
/// What the job shares by name; see ipc.h.
struct IpcImage {
  std::vector<SegmentImage> segments;
  std::vector<SemaphoresImage> semaphores;
  std::vector<QueueImage> queues;
  std::vector<SharedFileImage> files;
};

/// The controlling terminal, when the tree has one: the starter's pty.
struct TerminalImage {
  uint8_t present = 0;
  pid_t session = 0, foreground = 0;
  Bytes settings;  ///< struct termios as TCGETS2 gives it
  uint16_t rows = 0, columns = 0;
  bool operator==(const TerminalImage&) const = default;
};

/// What must agree between the two hosts; sent before the freeze as well.
struct Platform {
  Bytes vdso;
  StateLayout state;
  std::string features;  ///< what the tree may have used of the processor (cpu_features.h)
};

/// Said by the source before it freezes anything.
struct Announcement {
  Platform platform;
  Tree tree;
  Strategy strategy = Strategy::swap_out;
  uint8_t copy = 0;         ///< for a checkpoint: the guest goes on where it is
  uint8_t runs = 0;         ///< the guest does until its image comes: nobody waits before that
  uint32_t huge_pages = 0;  ///< that it needs (huge_pages.h)
};

struct Image {
  Tree tree;
  std::vector<ProcessImage> processes;  ///< the living of `tree`, in its order
  std::vector<Description> descriptions;
  std::vector<PipeImage> pipes;
  std::vector<ObjectImage> objects;
  std::vector<SocketImage> sockets;
  std::vector<InetImage> inet_sockets;
  std::vector<FilterImage> filters;
  /// The first is that of the source's kernel; others have come along from earlier ones (vdso.h).
  std::vector<Bytes> vdsos;
  IpcImage ipc;
  std::vector<LockImage> locks;
  std::vector<PtyImage> ptys;  ///< by number, ascending
  std::string network;         ///< network_of() the source's guest; only if sockets have addresses
  std::string machine;  ///< this_machine() of the source; only where something in it asks for it
  TerminalImage terminal;
  Bytes input;  ///< bytes in the stdin pipe, not yet read by the guest
  /// What SourceHooks::frozen returned.
  std::string hook_bytes;
  int64_t monotonic = 0;  ///< the guest's CLOCK_MONOTONIC at the freeze, ns
};

/// What a checkpoint file holds besides pages; see checkpoint.h.
struct CheckpointIndex {
  struct Owner {
    uint32_t process = 0;  ///< as the page stream names it
    std::vector<Range> populated;
    struct Extent {
      uint64_t address = 0, size = 0;
      uint64_t offset = 0;  ///< in the file
    };
    std::vector<Extent> extents;
  };
  Announcement announcement;
  Bytes image;  ///< as encode_whole() gave it
  std::vector<Owner> owners;
};

/// Format: see image_codec.cc.
Bytes encode(const CheckpointIndex& index);
/// Checked in itself: whole pages, ranges ascending and not overlapping. Offsets are the file's
/// matter, and the image is not looked into.
Result<CheckpointIndex> decode_checkpoint_index(std::span<const std::byte> bytes);
Bytes encode(const Announcement& announcement);
Result<Announcement> decode_announcement(std::span<const std::byte> bytes);
/// The image as pieces to be sent one after another (the pages are not copied).
std::vector<std::span<const std::byte>> encode(const Image& image, Bytes& storage);
Bytes encode_whole(const Image& image);
/// `bytes` must outlive the result.
Result<Image> decode_image(std::span<const std::byte> bytes);

}  // namespace hob::migrate
