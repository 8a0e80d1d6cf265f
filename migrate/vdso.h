#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "migrate/image.h"
#include "migrate/types.h"

/// The vdso: code of the kernel in every process, by which programs read clocks without a system
/// call. Programs keep addresses into it, and it only fits the kernel that made it.
///
/// On another kernel a process keeps a copy of its vdso where it always was, as ordinary memory.
/// Each function in the copy begins with a jump to the function of the same name in this kernel's
/// own vdso, which is placed elsewhere; one that this kernel does not have makes the system call
/// instead. When such a process moves again, its copy moves and is redirected anew; the vdso that
/// it jumped to stays behind, as nothing else knows it. So threads must be outside both when they
/// are captured (step_out_of_vdso).
///
/// Not covered: a thread inside a signal handler that has interrupted a function of the vdso. It
/// would return into the middle of the copy, whose data (vvar) is not there, and die of SIGSEGV.
namespace hob::migrate {

struct VdsoFunction {
  std::string name;  ///< without "__vdso_"
  uint64_t offset = 0, size = 0;
};

/// The functions that it exports. Pure. The bytes may come from a peer: whatever does not hold
/// together is an Error.
Result<std::vector<VdsoFunction>> vdso_functions(std::span<const std::byte> vdso);

/// The bytes that are loaded, in whole pages: what a copy consists of. 0: it is no vdso. Pure.
uint64_t vdso_size(std::span<const std::byte> vdso);

/// `theirs`, redirected to `ours` at address `at`. Pure; `theirs` may come from a peer.
Result<Bytes> redirect_vdso(std::span<const std::byte> theirs, std::span<const std::byte> ours,
                            RemoteAddress at);

/// What is loaded at `address` in a process: its vdso, or the copy of an earlier one.
Result<Bytes> read_vdso(Tid process, RemoteAddress address);

/// Where the auxiliary vector says that the process has its vdso (AT_SYSINFO_EHDR).
std::optional<RemoteAddress> vdso_address(std::span<const std::byte> auxv);

}  // namespace hob::migrate
