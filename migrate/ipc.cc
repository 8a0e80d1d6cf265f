#include "migrate/ipc.h"

#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <memory>

#include "migrate/objects.h"
#include "migrate/parts.h"

namespace hob::migrate {
namespace {

constexpr uint64_t kMostInAll = 512u << 20;
constexpr unsigned kPermissions = 0777;

/// While it lives the calling thread makes things in the user's name. Raw calls: glibc's would
/// change all threads.
class InTheNameOf {
 public:
  explicit InTheNameOf(const Credentials& user) {
    CHECK(::syscall(SYS_setresgid, -1, user.gid, -1) == 0);
    CHECK(::syscall(SYS_setresuid, -1, user.uid, -1) == 0);
  }
  ~InTheNameOf() {
    CHECK(::syscall(SYS_setresuid, -1, 0, -1) == 0);
    CHECK(::syscall(SYS_setresgid, -1, 0, -1) == 0);
  }
  InTheNameOf(const InTheNameOf&) = delete;
  InTheNameOf& operator=(const InTheNameOf&) = delete;
};

struct Detach {
  void operator()(std::byte* at) const { ::shmdt(at); }
};
using Attached = std::unique_ptr<std::byte, Detach>;

Result<Attached> attach(int id, int flags) {
  void* at = ::shmat(id, nullptr, flags);
  if (at == reinterpret_cast<void*>(-1))
    return Error::sys("attach", "shared memory " + std::to_string(id));
  return Attached(static_cast<std::byte*>(at));
}

bool all_zero(const std::byte* at, size_t size) {
  return std::all_of(at, at + size, [](std::byte b) { return b == std::byte{0}; });
}

std::vector<ObjectPiece> pieces_of(const std::byte* content, uint64_t size) {
  std::vector<ObjectPiece> pieces;
  for (uint64_t at = 0; at < size; at += kPage) {
    const size_t n = std::min<uint64_t>(kPage, size - at);
    if (all_zero(content + at, n)) continue;
    if (pieces.empty() || pieces.back().offset + pieces.back().content.size() != at)
      pieces.push_back({at, {}});
    pieces.back().content.insert(pieces.back().content.end(), content + at, content + at + n);
  }
  return pieces;
}

/// Counts what is to travel.
class Room {
 public:
  Result<void> take(uint64_t size, const std::string& subject) {
    if (size > left_)
      return obstacle(subject, "the job has more than 512 MiB of shared memory by name");
    left_ -= size;
    return {};
  }

 private:
  uint64_t left_ = kMostInAll;
};

Result<void> capture_segments(IpcImage& image, Room& room) {
  shm_info info = {};
  const int highest = ::shmctl(0, SHM_INFO, reinterpret_cast<shmid_ds*>(&info));
  if (highest < 0) return Error::sys("look for", "shared memory");
  for (int i = 0; info.used_ids > 0 && i <= highest; i++) {
    shmid_ds segment = {};
    const int id = ::shmctl(i, SHM_STAT, &segment);
    if (id < 0) continue;
    const std::string subject = "shared memory " + std::to_string(id);
    TRY(room.take(segment.shm_segsz, subject));
    SegmentImage& out = image.segments.emplace_back();
    out.id = id;
    out.key = segment.shm_perm.__key;
    out.mode = segment.shm_perm.mode & kPermissions;
    out.size = segment.shm_segsz;
    out.removed = (segment.shm_perm.mode & SHM_DEST) != 0;
    const Attached content = TRY(attach(id, SHM_RDONLY));
    out.pieces = pieces_of(content.get(), out.size);
  }
  return {};
}

Result<void> capture_semaphores(IpcImage& image) {
  seminfo info = {};
  const int highest = ::semctl(0, 0, SEM_INFO, &info);
  if (highest < 0) return Error::sys("look for", "semaphores");
  for (int i = 0; info.semusz > 0 && i <= highest; i++) {
    semid_ds set = {};
    const int id = ::semctl(i, 0, SEM_STAT, &set);
    if (id < 0) continue;
    SemaphoresImage& out = image.semaphores.emplace_back();
    out.id = id;
    out.key = set.sem_perm.__key;
    out.mode = set.sem_perm.mode & kPermissions;
    out.values.resize(set.sem_nsems);
    if (::semctl(id, 0, GETALL, out.values.data()) < 0)
      return Error::sys("read", "semaphores " + std::to_string(id));
  }
  return {};
}

struct Buffer {
  long type;
  std::byte bytes[1];
};

Result<void> capture_queues(IpcImage& image) {
  msginfo info = {};
  const int highest = ::msgctl(0, MSG_INFO, reinterpret_cast<msqid_ds*>(&info));
  if (highest < 0) return Error::sys("look for", "message queues");
  for (int i = 0; info.msgpool > 0 && i <= highest; i++) {
    msqid_ds queue = {};
    const int id = ::msgctl(i, MSG_STAT, &queue);
    if (id < 0) continue;
    const std::string subject = "message queue " + std::to_string(id);
    QueueImage& out = image.queues.emplace_back();
    out.id = id;
    out.key = queue.msg_perm.__key;
    out.mode = queue.msg_perm.mode & kPermissions;
    out.capacity = queue.msg_qbytes;
    std::vector<std::byte> memory(sizeof(long) + queue.__msg_cbytes + 1);
    for (size_t n = 0; n < queue.msg_qnum; n++) {
      const ssize_t got = ::msgrcv(id, memory.data(), queue.__msg_cbytes, static_cast<long>(n),
                                   MSG_COPY | IPC_NOWAIT);
      if (got < 0 && errno == ENOSYS)
        return obstacle(subject, "it holds messages, which this kernel does not show");
      if (got < 0) return Error::sys("read", subject);
      MessageImage& message = out.messages.emplace_back();
      std::memcpy(&message.type, memory.data(), sizeof message.type);
      const auto* text = memory.data() + sizeof(long);
      message.content.assign(text, text + got);
    }
  }
  return {};
}

constexpr char kShared[] = "root/dev/shm";

std::string shared_directory(const Guest& guest) {
  return proc::path(Tid{guest.sandbox->init()}, kShared);
}

Result<void> capture_file(const std::string& directory, const std::string& name, IpcImage& image,
                          Room& room) {
  const std::string subject = "/dev/shm/" + name;
  Fd file(::open((directory + "/" + name).c_str(),
                 O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
  struct stat st = {};
  if (!file || ::fstat(file.get(), &st) < 0 || !S_ISREG(st.st_mode))
    return obstacle(subject, "it is no plain file");
  if (st.st_nlink > 1) return obstacle(subject, "it has several names");
  SharedFileImage& out = image.files.emplace_back();
  out.name = name;
  out.mode = st.st_mode & kPermissions;
  out.size = static_cast<uint64_t>(st.st_size);
  out.modified = st.st_mtim.tv_sec * 1'000'000'000 + st.st_mtim.tv_nsec;
  for (const Range& extent : TRY(populated(file, out.size))) {
    TRY(room.take(extent.size(), subject));
    ObjectPiece& piece = out.pieces.emplace_back();
    piece.offset = extent.start;
    piece.content.resize(std::min(extent.end, out.size) - extent.start);
    const ssize_t n = ::pread(file.get(), piece.content.data(), piece.content.size(),
                              static_cast<off_t>(extent.start));
    if (n != static_cast<ssize_t>(piece.content.size()))
      return Error::sys("read", subject, n < 0 ? errno : EIO);
  }
  return {};
}

Result<void> capture_files(const Guest& guest, IpcImage& image, Room& room) {
  const auto names = proc::list(Tid{guest.sandbox->init()}, kShared);
  if (!names && names.error().code == ESRCH) return {};  // hosts without one
  for (const std::string& name : TRY(names))
    TRY(capture_file(shared_directory(guest), name, image, room));
  return {};
}

// The kernel gives the next thing of a kind this id, once (CONFIG_CHECKPOINT_RESTORE).
Result<void> choose_id(const char* kind, int id) {
  return write_control(std::string("/proc/sys/kernel/") + kind + "_next_id", std::to_string(id));
}

Result<void> made(int got, int wanted, const std::string& subject) {
  if (got < 0) return Error::sys("make", subject);
  if (got != wanted) return Error{"make " + subject + ": this kernel gave it another id", EEXIST};
  return {};
}

Result<void> make(const SegmentImage& s, const Credentials& user) {
  const std::string subject = "shared memory " + std::to_string(s.id);
  TRY(choose_id("shm", s.id));
  const InTheNameOf name(user);
  // As the kernel tells it, one that was removed while in use has lost its key.
  TRY(made(::shmget(s.key, s.size, IPC_CREAT | IPC_EXCL | 0600), s.id, subject));
  const Attached content = TRY(attach(s.id, 0));
  for (const ObjectPiece& piece : s.pieces)
    std::memcpy(content.get() + piece.offset, piece.content.data(), piece.content.size());
  shmid_ds settings = {};
  settings.shm_perm.uid = user.uid;
  settings.shm_perm.gid = user.gid;
  settings.shm_perm.mode = static_cast<unsigned short>(s.mode);
  if (::shmctl(s.id, IPC_SET, &settings) < 0) return Error::sys("set the mode of", subject);
  return {};
}

Result<void> make(const SemaphoresImage& s, const Credentials& user) {
  const std::string subject = "semaphores " + std::to_string(s.id);
  TRY(choose_id("sem", s.id));
  const InTheNameOf name(user);
  TRY(made(::semget(s.key, static_cast<int>(s.values.size()), IPC_CREAT | IPC_EXCL | 0600), s.id,
           subject));
  if (::semctl(s.id, 0, SETALL, s.values.data()) < 0) return Error::sys("set", subject);
  semid_ds settings = {};
  settings.sem_perm.uid = user.uid;
  settings.sem_perm.gid = user.gid;
  settings.sem_perm.mode = static_cast<unsigned short>(s.mode);
  if (::semctl(s.id, 0, IPC_SET, &settings) < 0) return Error::sys("set the mode of", subject);
  return {};
}

Result<void> make(const QueueImage& q, const Credentials& user) {
  const std::string subject = "message queue " + std::to_string(q.id);
  TRY(choose_id("msg", q.id));
  const InTheNameOf name(user);
  TRY(made(::msgget(q.key, IPC_CREAT | IPC_EXCL | 0600), q.id, subject));
  for (const MessageImage& message : q.messages) {
    std::vector<std::byte> memory(sizeof(long) + message.content.size());
    std::memcpy(memory.data(), &message.type, sizeof(long));
    std::copy(message.content.begin(), message.content.end(), memory.begin() + sizeof(long));
    if (::msgsnd(q.id, memory.data(), message.content.size(), IPC_NOWAIT) < 0)
      return Error::sys("refill", subject);
  }
  msqid_ds settings = {};
  settings.msg_perm.uid = user.uid;
  settings.msg_perm.gid = user.gid;
  settings.msg_perm.mode = static_cast<unsigned short>(q.mode);
  settings.msg_qbytes = q.capacity;
  if (::msgctl(q.id, IPC_SET, &settings) < 0) return Error::sys("set the mode of", subject);
  return {};
}

Result<void> make(const std::string& directory, const SharedFileImage& f, const Credentials& user) {
  const std::string subject = "/dev/shm/" + f.name;
  // A directory that no process of a guest has seen yet: nothing there can be a trap.
  Fd file(::open((directory + "/" + f.name).c_str(),
                 O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!file || ::ftruncate(file.get(), static_cast<off_t>(f.size)) < 0)
    return Error::sys("make", subject);
  for (const ObjectPiece& piece : f.pieces)
    if (::pwrite(file.get(), piece.content.data(), piece.content.size(),
                 static_cast<off_t>(piece.offset)) != static_cast<ssize_t>(piece.content.size()))
      return Error::sys("write", subject);
  const timespec times[2] = {{0, UTIME_OMIT},
                             {f.modified / 1'000'000'000, f.modified % 1'000'000'000}};
  if (::fchmod(file.get(), f.mode) < 0 || ::fchown(file.get(), user.uid, user.gid) < 0 ||
      ::futimens(file.get(), times) < 0)
    return Error::sys("set up", subject);
  return {};
}

}  // namespace

Result<IpcVisit> IpcVisit::to(const Guest& guest) {
  Fd own = TRY(open_file("/proc/thread-self/ns/ipc", O_RDONLY));
  Fd there = TRY(open_file(proc::path(Tid{guest.sandbox->init()}, "ns/ipc"), O_RDONLY));
  if (::setns(there.get(), CLONE_NEWIPC) < 0)
    return Error::sys("enter the ipc namespace of", "the sandbox");
  return IpcVisit(std::move(own));
}

IpcVisit::~IpcVisit() {
  if (own_) CHECK(::setns(own_.get(), CLONE_NEWIPC) == 0);
}

Result<void> capture_ipc(const Guest& guest, Image& image) {
  Room room;
  TRY(capture_segments(image.ipc, room));
  TRY(capture_semaphores(image.ipc));
  TRY(capture_queues(image.ipc));
  return capture_files(guest, image.ipc, room);
}

std::optional<std::string> path_in_shm(Tid process, ino_t inode) {
  const std::string directory = proc::path(process, "root/dev/shm");
  const std::unique_ptr<DIR, int (*)(DIR*)> list(::opendir(directory.c_str()), ::closedir);
  while (const dirent* entry = list ? ::readdir(list.get()) : nullptr)
    if (entry->d_ino == inode) return std::string("/dev/shm/") + entry->d_name;
  return std::nullopt;
}

Result<void> make_ipc(const Guest& guest, const IpcImage& image) {
  for (const SharedFileImage& file : image.files)
    TRY(make(shared_directory(guest), file, guest.user));
  if (image.segments.empty() && image.semaphores.empty() && image.queues.empty()) return {};
  const IpcVisit visit = TRY(IpcVisit::to(guest));
  for (const SegmentImage& s : image.segments) TRY(make(s, guest.user));
  for (const SemaphoresImage& s : image.semaphores) TRY(make(s, guest.user));
  for (const QueueImage& q : image.queues) TRY(make(q, guest.user));
  return {};
}

}  // namespace hob::migrate
