#pragma once

#include <atomic>
#include <memory>
#include <vector>

#include "base/fd.h"
#include "base/result.h"
#include "migrate/image.h"
#include "migrate/migrate.h"
#include "migrate/tree_plan.h"
#include "migrate/types.h"

namespace hob::migrate {

/// Anonymous memory shared with the processes forked after it was made. Address space is reserved
/// freely; pages come when touched.
class SharedMemory {
 public:
  static Result<SharedMemory> map(size_t size);
  SharedMemory(SharedMemory&& other) noexcept;
  SharedMemory& operator=(SharedMemory&&) = delete;
  ~SharedMemory();
  std::byte* data() const { return data_; }
  size_t size() const { return size_; }
  /// See touch(), arena.h.
  void touch(size_t start, size_t size);

 private:
  SharedMemory(std::byte* data, size_t size) : data_(data), size_(size) {}
  std::byte* data_;
  size_t size_;
};

/// The new processes while they still are copies of the engine: made in the preparation with the
/// tree's parents, sessions and groups, then parked until the image is there.
///
/// Dropping the object kills and reaps those that have not been let go.
class Stubs {
 public:
  /// Address space set aside for each process's injected calls and their data.
  static constexpr size_t kWorkspace = 64u << 20;

  /// Makes them all and waits until they are parked. `image_memory` is where the image will be
  /// read.
  static Result<Stubs> make(const Guest& guest, const Tree& tree, const SharedMemory& image_memory,
                            Duration limit);
  Stubs(Stubs&&) noexcept;
  ~Stubs();

  size_t size() const;
  /// In the order of the living in the tree.
  Tid pid(size_t index) const;
  /// Registered with nothing yet; missing-page events for the process's memory.
  Fd take_uffd(size_t index);
  std::byte* workspace(size_t index) const;
  const Tree& tree() const;

  /// Lets the stubs decode the image, which lies at `image` in the image memory, and adopt what is
  /// done natively; each ends in a trap, which its tracer sees. `workspaces` are the addresses to
  /// which each moves its workspace. The descriptors from `first_free` on are theirs.
  void go(Range image, const std::vector<RemoteAddress>& workspaces);
  /// After the trap: what went wrong natively, if anything did.
  Result<void> adopted(size_t index) const;
  /// Where the stub placed the files to be mapped, and the first descriptor that must be closed.
  int mapped_files(size_t index) const;
  int objects(size_t index) const;
  /// Where the first of them has image.descriptions[i], until that is closed: opened() + i.
  int opened() const { return first_free(0); }
  int first_free(size_t index) const;

  /// The processes are the guest now.
  void release();

  struct Shared;
  struct State;

 private:
  explicit Stubs(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace hob::migrate
