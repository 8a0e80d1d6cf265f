#pragma once

#include "base/result.h"
#include "migrate/captive.h"
#include "migrate/image.h"
#include "migrate/inet.h"
#include "migrate/link.h"
#include "migrate/locks.h"
#include "migrate/restore.h"

/// What only one copy can have: locks, addresses and connections of sockets. The target is promised
/// it before the commit and gets it after, before the guest runs. Nothing of it is given up at the
/// source as long as the source may have to go on. Conversation: control.h.
namespace hob::migrate {

/// The source's side. Each step may be asked for by the target when it is the live copy.
class Yielding {
 public:
  /// All three outlive it.
  Yielding(Captives& captives, const Image& image, const Platform& platform)
      : captives_(captives), image_(image), platform_(platform) {}
  /// Locks for writing become locks for reading.
  void weaken();
  /// Everything that the guest has open here is closed. Its memory stays.
  void let_go();

 private:
  void forget_connections();
  LockHands hands();
  Result<void> lend(uint32_t process, const std::function<Result<void>(const Foothold&)>& call);
  Captives& captives_;
  const Image& image_;
  const Platform& platform_;
};

/// The target's side.
class Takeover {
 public:
  /// Both outlive it.
  Takeover(Restoration& restoration, const Image& image)
      : restoration_(restoration), image_(image), inet_(image) {}
  /// Before the commit: takes what can be had beside the source; false: there is none, a checkpoint
  /// is restarted. An Error: it will never be had.
  Result<void> prepare(bool beside_source);
  /// After the commit: asks the source for the rest and takes it. A source that is gone has let go.
  /// Waits while others have the locks, for at most kLockPatience. Null: there is no source, a
  /// checkpoint is restarted.
  Result<void> complete(Connection* control);

 private:
  LockHands hands();
  Restoration& restoration_;
  const Image& image_;
  std::vector<const LockImage*> wanted_;  ///< for writing
  InetPlacement inet_;
};

/// Less than the source waits for the word that the guest runs (kPagePatience).
inline constexpr Duration kLockPatience = minutes(4);

}  // namespace hob::migrate
