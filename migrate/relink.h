#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>

#include "base/result.h"
#include "base/time.h"
#include "migrate/link.h"
#include "migrate/ranges.h"

/// A link that breaks after the commit, while pages lie at the source and nowhere else, is made
/// again: the source connects to where it has connected before, for at most kRelinkLimit, and
/// programs that wait for a page go on waiting. Connections break when a firewall, an address or a
/// cable changes; an end that hangs up or dies is no broken link, and nobody waits for it.
///
/// The new link has a key of its own, derived from that of the migration and the number of the
/// link, so that hellos of the one before say nothing to it; its records are sealed under fresh
/// salts as ever (link.h). On its connection `bulk` the target first tells what it has
/// (stream::Kind::received, then end), and all else is sent as on the first link.
namespace hob::migrate {

inline constexpr Duration kRelinkLimit = seconds(30);

/// The key of a link; number 0 is the first.
LinkKey link_key(const LinkKey& of_migration, uint32_t number);

using PagesByProcess = std::map<uint32_t, Ranges>;

/// The source's side.
struct Relinked {
  Link link;
  PagesByProcess received;  ///< what the target has already
};
/// Is this Error of a connection one after which a new one may be better?
bool may_relink(const Error& error);
Result<Relinked> relink(const std::string& address, uint16_t port, const LinkKey& of_migration,
                        uint32_t number, Duration limit);

/// The target's side: a thread that takes the source back, as often as it comes.
class Readmission {
 public:
  /// `received` is asked when the source is back, `admitted` gets its link. `listener` is the
  /// socket that it knows.
  struct Events {
    std::function<PagesByProcess()> received;
    std::function<void(Link)> admitted;
  };
  Readmission(Fd listener, const LinkKey& of_migration, Events events);
  /// Takes nobody back any more: who tries is refused.
  ~Readmission();

 private:
  void run();
  Fd listener_;
  LinkKey key_;
  Events events_;
  std::thread thread_;
};

}  // namespace hob::migrate
