#pragma once

#include <memory>
#include <vector>

#include "base/result.h"
#include "migrate/image.h"
#include "migrate/migrate.h"
#include "migrate/parts.h"
#include "migrate/scratch.h"
#include "migrate/stubs.h"
#include "migrate/territory.h"

namespace hob::migrate {

/// Turns parked stubs into the processes of an image. The methods are the named steps of receive(),
/// in their order. Dropping the object before resume() kills what it has made.
class Restoration {
 public:
  /// Traces the stubs. Part of the preparation.
  static Result<Restoration> begin(const Guest& guest, Stubs& stubs, const Platform& platform);
  Restoration(Restoration&&) noexcept;
  ~Restoration();

  /// Builds upon a draft (draft.h) what it can: files, address spaces and threads. Part of the
  /// preparation, too. `place` is where it lies in the image memory.
  Result<void> build_ahead(const Image& draft, Range place);
  /// Something of `image` wants addresses at which the engine's own things stand meanwhile.
  bool in_the_way(const Image& image) const;

  /// Lets the stubs adopt files and identity natively, while the calls that follow are made ready.
  /// Upon a draft: sets right what differs, which must be possible (draft.h).
  Result<void> adopt(const Image& image, Range place);
  /// The old address spaces are gone, the new ones and their hot pages are there.
  Result<void> build_memory();
  /// Makes everything else missing until it arrives; returns per process what it covers.
  Result<std::vector<std::vector<HeldBack>>> hold_back_pages(const std::vector<int>& uffds);
  /// All threads exist, with their own state, the user's rights and nothing of ours in memory.
  Result<void> build_threads();
  /// Registers are set. After this only resume() is left, and what goes through lend().
  Result<void> set_registers();
  Tid pid(size_t process) const;
  /// Lends the leader of a process for calls in it, and makes it ready for resume() again.
  Result<void> lend(size_t process, const std::function<Result<void>(const Foothold&)>& call);
  /// It runs. `wishes`: what is not in force here (priorities.h).
  void resume(Wishes& wishes);

  uint32_t threads() const;

 private:
  struct State;
  explicit Restoration(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

/// This machine's vdso and extended state layout.
Result<Platform> this_platform();
/// Why a process from `source` could not run here; empty if it can.
std::string difference(const Platform& source, const Platform& here);

}  // namespace hob::migrate
