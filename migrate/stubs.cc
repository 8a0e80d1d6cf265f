#include "migrate/stubs.h"

#include <fcntl.h>
#include <linux/futex.h>
#include <linux/userfaultfd.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/rseq.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "migrate/arena.h"
#include "migrate/files.h"
#include "migrate/injector.h"
#include "migrate/parts.h"
#include "migrate/ptys.h"

namespace hob::migrate {

Result<SharedMemory> SharedMemory::map(size_t size) {
  void* at = ::mmap(nullptr, size, PROT_READ | PROT_WRITE | PROT_EXEC,
                    MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (at == MAP_FAILED) return Error::sys("map", "memory for the arriving processes");
  return SharedMemory(static_cast<std::byte*>(at), size);
}
SharedMemory::SharedMemory(SharedMemory&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
SharedMemory::~SharedMemory() {
  if (data_) ::munmap(data_, size_);
}
void SharedMemory::touch(size_t start, size_t size) {
  migrate::touch({data_, size_}, start, size);
}

namespace {

using Word = std::atomic<uint32_t>;
static_assert(Word::is_always_lock_free);

// A place where several processes wait for a word to change. Spurious returns are allowed.
void futex_wait(Word& word, uint32_t seen, const timespec* limit = nullptr) {
  ::syscall(SYS_futex, &word, FUTEX_WAIT, seen, limit, nullptr, 0);
}
void futex_wake(Word& word) {
  ::syscall(SYS_futex, &word, FUTEX_WAKE, INT32_MAX, nullptr, nullptr, 0);
}

struct Slot {
  int uffd;
  RemoteAddress workspace;
  int mapped_files, objects, first_free;
  uint32_t failed;
  char error[400];
  int code;
};

}  // namespace

/// Seen by the engine and by all stubs.
struct Stubs::Shared {
  Word arrived;  // counts those that reached the next step, over all steps
  Word parked;   // living stubs that wait for the image
  Word go;
  Word shared_files;           // 1: opened, 2: failed
  Word failed;                 // somebody failed while the tree was made
  uint64_t image, image_size;  // where it lies in the image memory
  int highest_descriptor;      // of the engine, and so of its copies
  Slot slots[];
};

struct Stubs::State {
  State(const Guest& g, std::vector<StubPlan> p, SharedMemory s, const SharedMemory& i)
      : guest(g), plans(std::move(p)), shared_memory(std::move(s)), image_memory(i) {}
  Shared& shared() { return *reinterpret_cast<Shared*>(shared_memory.data()); }
  size_t living() const { return pids.size(); }

  const Guest& guest;
  Tree tree;
  std::vector<StubPlan> plans;
  std::vector<int> slot_of;  ///< per plan; -1 for those that do not live
  SharedMemory shared_memory;
  const SharedMemory& image_memory;
  std::vector<SharedMemory> workspaces;
  std::vector<Tid> pids;
  std::vector<Fd> uffds;
  MadePtys ptys;  ///< in the stubs alone
  pid_t root = 0;
  bool released = false;
};

namespace {

/// What runs in a stub. It is a copy of the engine in the sandbox, with one thread and root's
/// rights.
class Stub {
 public:
  Stub(Stubs::State& state, Stubs::Shared& shared, size_t plan)
      : s_(state), shared_(shared), index_(plan) {}

  [[noreturn]] void run() {
    if (auto made = take_place(); !made) fail(made.error());
    const StubPlan& plan = s_.plans[index_];
    if (plan.role == StubPlan::Role::helper) ::_exit(0);
    if (plan.role == StubPlan::Role::zombie) end_like(plan.node.exit_code);
    if (auto settled = reap_helpers(); !settled) fail(settled.error());
    if (auto opened = open_uffd(); !opened) fail(opened.error());
    if (auto given = give_up_privileges(s_.guest.user); !given) fail(given.error());
    shared_.parked++;
    futex_wake(shared_.parked);
    while (shared_.go == 0) futex_wait(shared_.go, 0);
    if (auto adopted = adopt(); !adopted) note(adopted.error());
    trap();
  }

 private:
  Slot& slot() { return shared_.slots[s_.slot_of[index_]]; }

  void note(const Error& error) {
    if (s_.slot_of[index_] < 0) return;
    slot().code = error.code;
    error.text.copy(slot().error, sizeof slot().error - 1);
    slot().failed = 1;
  }
  [[noreturn]] void fail(const Error& error) {
    note(error);
    shared_.failed = 1;
    futex_wake(shared_.parked);
    ::_exit(1);
  }

  // The engine's tracer takes over here; nothing after this line ever runs.
  [[noreturn]] static void trap() {
    const uint64_t mask = kInjectionMask;
    ::syscall(SYS_rt_sigprocmask, SIG_SETMASK, &mask, nullptr, sizeof mask);
    __asm__ volatile("int3");
    ::_exit(125);
  }

  // All stubs meet `step` times; returns when all have come to this one.
  void meet(uint32_t step) {
    const auto all = static_cast<uint32_t>(s_.plans.size()) * step;
    shared_.arrived++;
    futex_wake(shared_.arrived);
    for (uint32_t now; (now = shared_.arrived) < all;) futex_wait(shared_.arrived, now);
  }

  Result<void> take_place() {
    const StubPlan& plan = s_.plans[index_];
    if (index_ == 0) {
      // The kernel writes to a registered rseq area on every switch, and would kill the process
      // when the memory goes. Children inherit that there is none.
      if (__rseq_size > 0) {
        char* self = nullptr;
        __asm__("mov %%fs:0, %0" : "=r"(self));
        constexpr unsigned kUnregister = 1, kSignature = 0x53053053;
        ::syscall(334, self + __rseq_offset, 32, kUnregister, kSignature);
      }
      ::syscall(SYS_set_robust_list, nullptr, 24);
    }
    // Nothing may end or disturb a stub but SIGKILL.
    const uint64_t mask = kInjectionMask;
    ::syscall(SYS_rt_sigprocmask, SIG_SETMASK, &mask, nullptr, sizeof mask);
    if (index_ == 0) TRY(s_.ptys.make_for(s_.tree, s_.guest.user));  // before anybody is cloned
    // A zombie's parent must not ignore SIGCHLD while the zombie ends, or there would be none.
    ::signal(SIGCHLD, SIG_DFL);
    TRY(clone_children(true));
    if (plan.founds_session) {
      if (::setsid() < 0) return Error::sys("found", "a session");
      if (plan.node.terminal) TRY(take_terminal());
      if (plan.node.pty >= 0) TRY(s_.ptys.take(plan.node.pty));
    }
    TRY(clone_children(false));
    meet(1);
    if (plan.node.group == plan.node.pid && !plan.founds_session && ::setpgid(0, 0) < 0)
      return Error::sys("found", "a process group");
    meet(2);
    if (plan.node.group > 0 && plan.node.group != plan.node.pid && ::getpgrp() != plan.node.group &&
        ::setpgid(0, plan.node.group) < 0)
      return Error::sys("join", "process group " + std::to_string(plan.node.group));
    meet(3);
    return {};
  }

  Result<void> take_terminal() {
    for (const External& e : s_.guest.externals)
      if (e.kind == External::Kind::terminal) {
        if (::ioctl(e.guest_end, TIOCSCTTY, 0) < 0) return Error::sys("take", "the terminal");
        return {};
      }
    return Error{"take the terminal: the starter has none for the guest", ENOTTY};
  }

  Result<void> clone_children(bool before_session) {
    for (size_t i = 0; i < s_.plans.size(); i++) {
      const StubPlan& plan = s_.plans[i];
      if (plan.creator != static_cast<int>(index_) || plan.before_session != before_session)
        continue;
      kernel::CloneArguments clone = {};
      clone.exit_signal = plan.node.exit_signal;
      clone.set_tid = reinterpret_cast<uint64_t>(&plan.node.pid);
      clone.set_tid_size = 1;
      const long pid = ::syscall(SYS_clone3, &clone, sizeof clone);
      if (pid < 0) return Error::sys("make process", std::to_string(plan.node.pid));
      if (pid == 0) Stub(s_, shared_, i).run();
    }
    return {};
  }

  // A process that ended as the original did. Core dumps are not repeated.
  [[noreturn]] static void end_like(int status) {
    if (!WIFSIGNALED(status)) ::_exit(WEXITSTATUS(status));
    const rlimit no_core = {0, 0};
    ::setrlimit(RLIMIT_CORE, &no_core);
    ::signal(WTERMSIG(status), SIG_DFL);
    const uint64_t none = 0;
    ::syscall(SYS_rt_sigprocmask, SIG_SETMASK, &none, nullptr, sizeof none);
    ::kill(::getpid(), WTERMSIG(status));
    for (;;) ::pause();
  }

  Result<void> reap_helpers() {
    for (const StubPlan& plan : s_.plans) {
      if (plan.creator != static_cast<int>(index_) || plan.role == StubPlan::Role::living) continue;
      const bool keep = plan.role == StubPlan::Role::zombie;
      siginfo_t info;
      while (::waitid(P_PID, static_cast<id_t>(plan.node.pid), &info,
                      WEXITED | __WALL | (keep ? WNOWAIT : 0)) < 0)
        if (errno != EINTR) return Error::sys("wait for process", std::to_string(plan.node.pid));
    }
    return {};
  }

  Result<void> open_uffd() {
    const long fd = ::syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return Error::sys("open", "userfaultfd");
    uffdio_api api = {};
    api.api = UFFD_API;
    // Without these a child forked while pages are still missing would read zeros, and pages that
    // the program has given back would come again.
    api.features = UFFD_FEATURE_EVENT_FORK | UFFD_FEATURE_EVENT_REMAP | UFFD_FEATURE_EVENT_REMOVE |
                   UFFD_FEATURE_EVENT_UNMAP;
    if (::ioctl(static_cast<int>(fd), UFFDIO_API, &api) < 0)
      return Error::sys("set up", "userfaultfd");
    slot().uffd = static_cast<int>(fd);
    return {};
  }

  Result<void> adopt() {
    std::span<const std::byte> bytes(s_.image_memory.data() + shared_.image, shared_.image_size);
    auto decoded = decode_image(bytes);
    if (!decoded) {
      if (index_ == 0) announce_files(false);
      return std::move(decoded).error();
    }
    const Image& image = *decoded;
    const auto index = static_cast<size_t>(s_.slot_of[index_]);
    const ProcessImage& process = image.processes[index];
    std::byte* mine = s_.workspaces[index].data();
    void* moved =
        ::mremap(mine, Stubs::kWorkspace, Stubs::kWorkspace, MREMAP_MAYMOVE | MREMAP_FIXED,
                 reinterpret_cast<void*>(slot().workspace.value));
    Result<Adoption> prepared = number_descriptors(image, process, index);
    if (moved == MAP_FAILED || !prepared) {
      if (index_ == 0) announce_files(false);
      return moved == MAP_FAILED ? Error::sys("move", "the workspace")
                                 : std::move(prepared).error();
    }
    Result<void> done;
    for (const Part* part : parts()) {
      if (!part->adopt) continue;
      done = part->adopt(*prepared);
      if (!done) break;
    }
    if (!done && index_ == 0 && shared_.shared_files == 0) announce_files(false);
    TRY(std::move(done));
    if (index_ == 0 && image.terminal.present) TRY(set_up_terminal(image.terminal));
    return {};
  }

  void announce_files(bool opened) {
    shared_.shared_files = opened ? 1 : 2;
    futex_wake(shared_.shared_files);
  }

  // The stub's own descriptors live above all that any process of the tree has.
  Result<Adoption> number_descriptors(const Image& image, const ProcessImage& process,
                                      size_t index) {
    int highest = shared_.highest_descriptor;
    for (const ProcessImage& p : image.processes)
      if (!p.descriptors.empty()) highest = std::max(highest, p.descriptors.back().number);
    const int first = highest + 1;
    Adoption a{image, process, s_.guest, index, first, 0, 0, 0, 0, -1, {}, {}, nullptr};
    a.ptys = &s_.ptys;
    a.opened = first;
    a.objects = a.opened + static_cast<int>(image.descriptions.size());
    a.mapped_files = a.objects + static_cast<int>(image.objects.size());
    a.first_free = a.mapped_files + static_cast<int>(process.files.size());
    slot().mapped_files = a.mapped_files;
    slot().objects = a.objects;
    slot().first_free = first;
    rlimit limit;
    constexpr int kOwn = 64;  // for what is open in passing
    if (::getrlimit(RLIMIT_NOFILE, &limit) < 0)
      return Error::sys("read", "the limit of descriptors");
    limit.rlim_cur = limit.rlim_max;
    if (static_cast<rlim_t>(a.first_free) + kOwn > limit.rlim_max ||
        ::setrlimit(RLIMIT_NOFILE, &limit) < 0)
      return Error{"open the guest's files: hostd's limit of open files is too low", EMFILE};
    if (index > 0) {
      // The root's pid is known inside; a pidfd of it opens the way to its descriptors.
      const long fd = ::syscall(SYS_pidfd_open, image.processes[0].pid, 0);
      if (fd < 0) return Error::sys("reach", "the first process of the tree");
      a.opener = ::fcntl(static_cast<int>(fd), F_DUPFD_CLOEXEC, a.first_free);
      ::close(static_cast<int>(fd));
      if (a.opener < 0) return Error::sys("reach", "the first process of the tree");
    }
    a.shared_files_opened = [this] { announce_files(true); };
    a.await_shared_files = [this] {
      while (shared_.shared_files == 0) futex_wait(shared_.shared_files, 0);
      return shared_.shared_files == 1;
    };
    return a;
  }

  Result<void> set_up_terminal(const TerminalImage& image) {
    for (const External& e : s_.guest.externals) {
      if (e.kind != External::Kind::terminal) continue;
      // e.starter_end has been closed here with all else; the terminal is reached as the job would.
      Fd tty = TRY(open_file("/dev/tty", O_RDWR | O_NOCTTY));
      constexpr unsigned long kTcsets2 = 0x402c542b;
      constexpr size_t kTermios2 = 44;
      if (image.settings.size() != kTermios2 ||
          ::ioctl(tty.get(), kTcsets2, image.settings.data()) < 0)
        return Error::sys("set up", "the terminal", EINVAL);
      winsize size = {};
      size.ws_row = image.rows;
      size.ws_col = image.columns;
      if (::ioctl(tty.get(), TIOCSWINSZ, &size) < 0)
        return Error::sys("set the size of", "the terminal");
      if (image.foreground > 0 && ::tcsetpgrp(tty.get(), image.foreground) < 0)
        return Error::sys("give the terminal to group", std::to_string(image.foreground));
    }
    return {};
  }

  Stubs::State& s_;
  Stubs::Shared& shared_;
  size_t index_;
};

// Which of the sandbox's processes is which: only this host's /proc knows both numbers.
Result<void> find_pids(Stubs::State& state) {
  state.pids.assign(static_cast<size_t>(std::count_if(state.slot_of.begin(), state.slot_of.end(),
                                                      [](int s) { return s >= 0; })),
                    Tid{});
  for (pid_t pid : TRY(state.guest.sandbox->cgroup().processes())) {
    if (pid == state.guest.sandbox->init()) continue;
    auto status = proc::status(Tid{pid});
    if (!status || status->inside.empty()) continue;
    for (size_t i = 0; i < state.plans.size(); i++)
      if (state.slot_of[i] >= 0 && state.plans[i].node.pid == status->inside.back())
        state.pids[static_cast<size_t>(state.slot_of[i])] = Tid{pid};
  }
  for (Tid pid : state.pids)
    if (!pid.value) return Error{"prepare the tree: a process has died", ESRCH};
  return {};
}

}  // namespace

Stubs::Stubs(std::unique_ptr<State> state) : state_(std::move(state)) {}
Stubs::Stubs(Stubs&&) noexcept = default;

Result<Stubs> Stubs::make(const Guest& guest, const Tree& tree, const SharedMemory& image_memory,
                          Duration limit) {
  auto plans = TRY(plan_tree(tree));
  SharedMemory shared = TRY(SharedMemory::map(sizeof(Shared) + plans.size() * sizeof(Slot)));
  Stubs stubs(std::make_unique<State>(guest, std::move(plans), std::move(shared), image_memory));
  State& state = *stubs.state_;
  state.tree = tree;
  state.slot_of.assign(state.plans.size(), -1);
  int next = 0;
  for (const TreeNode& node : tree) {  // the order in which the image has the processes
    if (node.zombie) continue;
    const auto plan = std::find_if(state.plans.begin(), state.plans.end(),
                                   [&](const StubPlan& p) { return p.node.pid == node.pid; });
    state.slot_of[static_cast<size_t>(plan - state.plans.begin())] = next++;
    state.workspaces.push_back(TRY(SharedMemory::map(kWorkspace)));
    state.workspaces.back().touch(0, 256u << 10);
  }
  Shared& common = state.shared();
  const auto living = static_cast<uint32_t>(next);
  // By the clone and by the stubs, before they place anything; ptys on top.
  const int kOpenedSince = 64 + 2 * static_cast<int>(tree.size());
  common.highest_descriptor = TRY(proc::descriptors(Tid{::getpid()})).back() + kOpenedSince;
  state.root =
      TRY(guest.sandbox->clone(state.plans[0].node.pid, [&] { Stub(state, common, 0).run(); }));
  const Time end = Clock::now() + limit;
  for (uint32_t parked; (parked = common.parked) < living;) {
    if (common.failed) {
      for (uint32_t i = 0; i < living; i++)
        if (common.slots[i].failed) return Error{common.slots[i].error, common.slots[i].code};
      return Error{"prepare the tree: a helper process failed", ECHILD};
    }
    if (Clock::now() > end) return Error{"prepare the tree: it took too long", ETIMEDOUT};
    const timespec a_while = {0, 10'000'000};
    futex_wait(common.parked, parked, &a_while);
  }
  TRY(find_pids(state));
  for (size_t i = 0; i < state.pids.size(); i++)
    state.uffds.push_back(TRY(proc::borrow_descriptor(state.pids[i], common.slots[i].uffd)));
  return stubs;
}

Stubs::~Stubs() {
  if (!state_ || state_->released || !state_->root) return;
  for (Tid pid : state_->pids)
    if (pid.value) ::kill(pid.value, SIGKILL);
  ::kill(state_->root, SIGKILL);
  // Descendants of the root become init's children, which reaps them; traced ones need us first.
  Patience patience(seconds(5));
  for (Tid pid : state_->pids)
    if (pid.value)
      for (auto status = wait_child(pid.value); status && WIFSTOPPED(*status);)
        status = wait_child(pid.value);
  for (auto status = wait_child(state_->root); status && WIFSTOPPED(*status);)
    status = wait_child(state_->root);
}

size_t Stubs::size() const {
  return state_->living();
}
Tid Stubs::pid(size_t index) const {
  return state_->pids[index];
}
Fd Stubs::take_uffd(size_t index) {
  return std::move(state_->uffds[index]);
}
std::byte* Stubs::workspace(size_t index) const {
  return state_->workspaces[index].data();
}
const Tree& Stubs::tree() const {
  return state_->tree;
}

void Stubs::go(Range image, const std::vector<RemoteAddress>& workspaces) {
  Shared& common = state_->shared();
  common.image = image.start;
  common.image_size = image.size();
  for (size_t i = 0; i < workspaces.size(); i++) common.slots[i].workspace = workspaces[i];
  common.go = 1;
  futex_wake(common.go);
}

Result<void> Stubs::adopted(size_t index) const {
  const Slot& slot = state_->shared().slots[index];
  if (slot.failed) return Error{slot.error, slot.code};
  return {};
}
int Stubs::mapped_files(size_t index) const {
  return state_->shared().slots[index].mapped_files;
}
int Stubs::objects(size_t index) const {
  return state_->shared().slots[index].objects;
}
int Stubs::first_free(size_t index) const {
  return state_->shared().slots[index].first_free;
}

void Stubs::release() {
  state_->released = true;
}

}  // namespace hob::migrate
