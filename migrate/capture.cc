#include "migrate/capture.h"

#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>

#include <cstring>

#include "base/log.h"
#include "migrate/injector.h"
#include "migrate/parts.h"
#include "migrate/vdso.h"
#include "migrate/waits.h"

namespace hob::migrate {

Result<RemoteAddress> syscall_instruction(const CaptiveProcess& process, const Platform& platform) {
  const RemoteAddress vdso = TRY(vdso_of(process));
  size_t offset = find_syscall(platform.vdso);
  if (offset == std::string::npos) return obstacle(process.name(), "its vdso makes no system call");
  constexpr uint16_t kSyscall = 0x050f;
  if (auto there = proc::read_memory<uint16_t>(process.pid, vdso + offset);
      there && *there == kSyscall)
    return vdso + offset;
  offset = find_syscall(TRY(read_vdso(process.pid, vdso)));
  if (offset == std::string::npos) return obstacle(process.name(), "its vdso makes no system call");
  return vdso + offset;
}

namespace {

/// Memory borrowed in a captive process: code, table and data of a batch.
class Scratch {
 public:
  static Result<Scratch> borrow(CaptiveProcess& process, RemoteAddress instruction, size_t size) {
    CaptiveThread& leader = process.leader();
    const int64_t at = TRY(call_once(leader.tracee, instruction, leader.registers, SYS_mmap,
                                     {0, size, PROT_READ | PROT_WRITE | PROT_EXEC,
                                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, ~0ull, 0}));
    if (at < 0) return Error::sys("borrow memory in", process.name(), static_cast<int>(-at));
    return Scratch(process, instruction, {static_cast<uint64_t>(at)}, size);
  }
  Scratch(Scratch&& other) noexcept
      : process_(std::exchange(other.process_, nullptr)),
        instruction_(other.instruction_),
        local_(std::move(other.local_)),
        workspace_(other.workspace_) {}
  Scratch& operator=(Scratch&&) = delete;
  ~Scratch() {
    if (!process_) return;
    CaptiveThread& leader = process_->leader();
    auto given = call_once(leader.tracee, instruction_, leader.registers, SYS_munmap,
                           {workspace_.remote().value, workspace_.size()});
    if (!given && given.error().code != ESRCH) log::error("{}", given.error().text);
  }

  Workspace& workspace() { return workspace_; }
  Result<void> write() { return transfer(SYS_process_vm_writev, "write"); }
  Result<void> read() { return transfer(SYS_process_vm_readv, "read"); }

 private:
  Scratch(CaptiveProcess& process, RemoteAddress instruction, RemoteAddress at, size_t size)
      : process_(&process),
        instruction_(instruction),
        local_(size),
        workspace_(local_.data(), size, at) {}

  Result<void> transfer(long number, const char* what) {
    iovec local{local_.data(), workspace_.used()};
    iovec remote{reinterpret_cast<void*>(workspace_.remote().value), workspace_.used()};
    const long n = ::syscall(number, process_->pid.value, &local, 1, &remote, 1, 0);
    if (n == static_cast<long>(workspace_.used())) return {};
    return Error::sys(std::string(what) + " the scratch memory of", process_->name(),
                      n < 0 ? errno : EFAULT);
  }

  CaptiveProcess* process_;
  RemoteAddress instruction_;
  std::vector<std::byte> local_;
  Workspace workspace_;
};

Result<void> ask(CaptiveProcess& process, Scratch& scratch, std::vector<Batch>& batches) {
  for (Batch& batch : batches) batch.place(scratch.workspace());
  TRY(scratch.write());
  for (size_t i = 0; i < batches.size(); i++)
    TRY(batches[i].start(process.threads[i].tracee, scratch.workspace(),
                         process.threads[i].registers));
  for (size_t i = 0; i < batches.size(); i++) TRY(batches[i].wait(process.threads[i].tracee));
  TRY(scratch.read());
  for (Batch& batch : batches) TRY(batch.finish(scratch.workspace()));
  return {};
}

Result<void> capture_process(const Guest& guest, CaptiveProcess& process, const Platform& platform,
                             Image& image, Objects& objects, const Advices& advices,
                             ProcessImage& out, Bytes& pages) {
  out.pid = process.node.pid;
  const RemoteAddress instruction = TRY(syscall_instruction(process, platform));
  // Rows and answers: some 80 of the process, 3 per thread, one per POSIX timer (RLIMIT_SIGPENDING
  // bounds those; 512 fit).
  const size_t size = (((96u << 10) + process.threads.size() * 512) | (kPage - 1)) + 1;
  Scratch scratch = TRY(Scratch::borrow(process, instruction, size));
  std::vector<Batch> batches(process.threads.size());
  ProcessCapture context{guest,      process, image, objects, advices, out, scratch.workspace(),
                         batches[0], batches, pages};
  for (const Part* part : parts())
    if (part->capture) TRY(part->capture(context));
  return ask(process, scratch, batches);
}

}  // namespace

Result<int64_t> guest_monotonic(Tid process) {
  const std::string text = TRY(proc::read(process, "timens_offsets"));
  long seconds = 0, nanoseconds = 0;
  if (std::sscanf(text.c_str(), "monotonic %ld %ld", &seconds, &nanoseconds) != 2)
    return Error{"read the clock offsets of the guest: the kernel's text has an unknown form",
                 EPROTO};
  timespec now;
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return (now.tv_sec + seconds) * 1'000'000'000 + now.tv_nsec + nanoseconds;
}

Result<Captured> capture(const Guest& guest, Captives& captives, const Advices& advices,
                         const Platform& platform, bool other_kernel) {
  for (CaptiveProcess& process : captives.processes)
    TRY(step_out_of_vdso(process, platform, other_kernel));
  // Before anything is read: a wait may turn out to be over.
  TRY(measure_waits(captives));
  Captured captured;
  Objects objects;
  Image& image = captured.image;
  image.tree = captives.tree;
  image.monotonic = TRY(guest_monotonic(captives.processes.front().pid));
  const size_t count = captives.processes.size();
  image.processes.resize(count);  // never again: the parts keep references
  captured.pages.resize(count);
  image.vdsos.push_back(platform.vdso);
  for (size_t i = 0; i < count; i++)
    TRY(capture_process(guest, captives.processes[i], platform, image, objects, advices,
                        image.processes[i], captured.pages[i]));
  TRY(capture_descriptions(guest, captives.processes, objects, image));
  TRY(objects.finish(image));
  captured.objects = objects.take_files();
  TRY(capture_terminal(guest, captives.processes, image));
  return captured;
}

}  // namespace hob::migrate
