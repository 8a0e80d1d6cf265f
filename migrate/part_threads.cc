#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include <algorithm>
#include <cstring>

#include "migrate/parts.h"
#include "migrate/priorities.h"

/// Threads: registers, extended state, rseq, robust list, alternate stack, name, id.
namespace hob::migrate {
namespace {

constexpr long kRseq = 334;
constexpr size_t kLeastState = 576;  // what FXSAVE keeps, and the header of an xsave area
constexpr int kArchGetXcompPerm = 0x1022, kArchReqXcompPerm = 0x1023, kAmxTileData = 18;

Result<Bytes> capture_extended_state(const Tracee& tracee) {
  alignas(64) static thread_local std::byte buffer[65536];
  Bytes state = TRY(tracee.extended_state(buffer));
  // 11 KiB on a machine with AMX, nearly all of it zero: the target pads it again.
  size_t size = state.size();
  while (size > kLeastState && state[size - 1] == std::byte{0}) size--;
  state.resize(size);
  return state;
}

void capture_wait(const CaptiveThread& captive, ThreadImage& out) {
  if (captive.wait.call == 0) return;
  out.registers.orig_rax = captive.wait.call;
  if (captive.wait.end == 0) return;
  out.wait_call = captive.wait.call;
  out.wait_end = captive.wait.end;
}

Result<void> capture(ProcessCapture& c) {
  c.out.threads.resize(c.process.threads.size());  // with the filters in them already
  for (size_t i = 0; i < c.process.threads.size(); i++) {
    CaptiveThread& captive = c.process.threads[i];
    ThreadImage& out = c.out.threads[i];
    const Tid tid = captive.tracee.tid();
    out.registers = captive.registers;
    make_restartable(out.registers, true);
    capture_wait(captive, out);
    out.signal_mask = captive.signal_mask;
    out.extended_state = TRY(capture_extended_state(captive.tracee));
    out.pending = TRY(captive.tracee.pending_signals(false));
    out.rseq = captive.rseq;
    void* head = nullptr;
    size_t size = 0;
    if (::syscall(SYS_get_robust_list, tid.value, &head, &size) == 0) {
      out.robust_list = reinterpret_cast<uint64_t>(head);
      out.robust_size = size;
    }

    capture_wishes(c.guest, captive, out);

    Batch& batch = c.of(i);
    const RemoteAddress stack = c.workspace.reserve(sizeof(stack_t));
    const RemoteAddress address = c.workspace.reserve(8), name = c.workspace.reserve(16);
    Workspace& ws = c.workspace;
    batch.must("read the alternate stack", SYS_sigaltstack, {0, stack.value});
    batch.then(SYS_gettid, {}, [&captive, &out](int64_t tid) -> Result<void> {
      captive.inside = out.tid = static_cast<pid_t>(tid);
      return {};
    });
    batch.must("read the tid address", SYS_prctl, {kernel::kPrGetTidAddress, address.value});
    batch.then(SYS_prctl, {PR_GET_NAME, name.value},
               [&ws, &out, stack, address, name](int64_t) -> Result<void> {
                 auto ss = ws.get<stack_t>(stack);
                 out.stack_pointer = reinterpret_cast<uint64_t>(ss.ss_sp);
                 out.stack_size = ss.ss_size;
                 // SS_ONSTACK is a fact, not a setting: it follows from the stack pointer.
                 out.stack_flags = static_cast<uint32_t>(ss.ss_flags & ~SS_ONSTACK);
                 out.tid_address = ws.get<uint64_t>(address);
                 const char* text = reinterpret_cast<const char*>(ws.local(name));
                 out.name.assign(text, ::strnlen(text, 15));
                 return {};
               });
  }
  capture_wishes(c.guest, c.process, c.out);
  const RemoteAddress permitted = c.workspace.reserve(8);
  Workspace& ws = c.workspace;
  c.leader.then(SYS_arch_prctl, {kArchGetXcompPerm, permitted.value},
                [&ws, &out = c.out, permitted](int64_t result) -> Result<void> {
                  // Before 5.16 there was nothing to ask for.
                  if (result == 0)
                    out.permitted_state = ws.get<uint64_t>(permitted) & kDynamicComponents;
                  return {};
                });
  return {};
}

Result<void> allow_tiles(Rebuild& r) {
  const StateLayout here = state_layout();
  const bool kept = std::any_of(here.components.begin(), here.components.end(),
                                [](const auto& c) { return c.number == kAmxTileData; });
  if (!kept)
    return Error{"restore process " + std::to_string(r.process.pid) +
                     ": it has asked for AMX tiles, which this processor or kernel lacks; it can "
                     "only go on where they are",
                 EOPNOTSUPP};
  r.clones.must("allow tiles", SYS_arch_prctl, {kArchReqXcompPerm, kAmxTileData});
  return {};
}

void rebuild_thread(Rebuild& r, size_t index) {
  const ThreadImage& thread = r.process.threads[index];
  Batch& batch = r.threads[index];
  batch.must("set the tid address", SYS_set_tid_address, {thread.tid_address});
  batch.must("set the robust list", SYS_set_robust_list, {thread.robust_list, 24});
  if (thread.stack_size) {
    stack_t stack = {};
    stack.ss_sp = reinterpret_cast<void*>(thread.stack_pointer);
    stack.ss_size = thread.stack_size;
    stack.ss_flags = static_cast<int>(thread.stack_flags);
    batch.must("set the alternate stack", SYS_sigaltstack, {r.workspace.put(stack).value, 0});
  }
  char name[16] = {};
  thread.name.copy(name, 15);
  batch.must("set the name", SYS_prctl, {PR_SET_NAME, r.workspace.put(name).value});
  if (thread.rseq.pointer)
    batch.must("register rseq", kRseq,
               {thread.rseq.pointer, thread.rseq.size, thread.rseq.flags, thread.rseq.signature});
}

// Of a new thread only the id matters: everything else it is told by its own program.
void clone(Rebuild& r, pid_t tid) {
  kernel::CloneArguments clone = {};
  clone.flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM;
  clone.set_tid = r.workspace.put(tid).value;
  clone.set_tid_size = 1;
  r.clones.must("clone a thread", SYS_clone3, {r.workspace.put(clone).value, sizeof clone});
}

Result<void> sketch(ProcessCapture& c) {
  for (const Tid tid : TRY(proc::threads(c.process.pid))) {
    const auto status = TRY(proc::parse_status(
        TRY(proc::read(c.process.pid, "task/" + std::to_string(tid.value) + "/status"))));
    ThreadImage& out = c.out.threads.emplace_back();
    out.tid = status.inside.empty() ? tid.value : status.inside.back();
    out.extended_state.resize(kLeastState);
  }
  return {};
}

Result<void> rebuild_ahead(Rebuild& r) {
  for (size_t i = 1; i < r.process.threads.size(); i++) clone(r, r.process.threads[i].tid);
  return {};
}

Result<void> rebuild(Rebuild& r) {
  for (size_t i = 0; i < r.process.threads.size(); i++) {
    if (i > 0 && !r.drafted) clone(r, r.process.threads[i].tid);
    rebuild_thread(r, i);
  }
  if (r.process.permitted_state != 0) TRY(allow_tiles(r));
  return {};
}

}  // namespace

const Part kThreads = {"threads", nullptr, capture, nullptr, rebuild, sketch, rebuild_ahead};

}  // namespace hob::migrate
