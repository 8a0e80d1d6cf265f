#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "coordinator/host.h"

namespace hob::coordinator {

/// A person: the same number at every home of the cell. The daemon numbers the names.
enum class UserId : uint32_t {};

/// Who holds grants: a program such as pmake, or all of a user's single jobs, as home vouches for
/// it. `id` tells the clients of one user at one home apart.
struct Client {
  HostId home{};
  UserId user{};
  uint64_t id = 0;

  auto operator<=>(const Client&) const = default;
};

/// Unique for all time: the start of the coordinator it stems from (`epoch`, counted in the ledger)
/// in the upper 24 bits, a serial number in the lower 40. At 100,000 grants a second a serial lasts
/// four months without a restart.
struct LeaseId {
  uint64_t value = 0;

  static constexpr int serial_bits = 40;
  uint32_t epoch() const { return static_cast<uint32_t>(value >> serial_bits); }
  auto operator<=>(const LeaseId&) const = default;
};

/// A grant: one slot of one host, held by one client until it is released, taken back, or expires
/// for want of renewal.
struct Lease {
  LeaseId id;
  HostId host{};
  Client client;
  Time expires{};
  /// Fairness has asked for it back; it can no longer be renewed.
  bool reclaimed = false;

  bool operator==(const Lease&) const = default;
};

/// Counted by the pool from 1 at every start.
enum class RequestId : uint64_t {};

/// "Give me `wanted` slots." What is free is granted at once. The rest waits until it is granted or
/// cancelled, or is refused if `wait` is false.
struct Request {
  Client client;
  uint32_t wanted = 1;
  /// Only this host will do (`--host`).
  std::optional<HostId> host;
  /// Not these: the client has found them wanting. At most PoolConfig::max_excluded.
  std::vector<HostId> exclude;
  bool wait = true;

  bool operator==(const Request&) const = default;
};

/// How the hosts stand, seen from one home (itself left out): why there is nothing to be had.
struct Availability {
  uint32_t free = 0;           ///< has room (but is excluded, or a policy forbids it)
  uint32_t in_use = 0;         ///< all slots granted
  uint32_t owner_present = 0;  ///< ACTIVE
  uint32_t refuses = 0;        ///< REFUSES
  uint32_t down = 0;           ///< DOWN
  uint32_t unsuitable = 0;     ///< home could not run the process afterwards

  bool operator==(const Availability&) const = default;
};

/// "3 in use, 2 with their owner present", or "no other host has joined the cell".
std::string to_string(const Availability& hosts);

enum class Refusal : uint8_t {
  bad_request,      ///< nothing wanted, or beyond the limits of PoolConfig
  home_lost,        ///< home is not known, DOWN, or has left while the request waited
  not_exported,     ///< home's owner lets no job out, or not to the host asked for
  no_such_host,     ///< the host asked for is not in the cell, or has left it
  host_unsuitable,  ///< the host asked for takes no guests of this home, or has another processor
  nothing_free,     ///< and the request does not wait
  queue_full,       ///< home has PoolConfig::max_waiting_per_home requests waiting
};
/// The cause, to be read after "host refused: " or "no grant: ", with what to do next.
std::string_view to_string(Refusal why);

enum class Revocation : uint8_t {
  owner_back,    ///< the host became ACTIVE
  host_down,     ///< the host became DOWN, or left the cell
  fewer_slots,   ///< the host takes fewer guests than before
  not_allowed,   ///< a policy or processor changed, so that the host no longer suits home
  home_removed,  ///< home left the cell
  unknown,       ///< the host serves it, but it ended long ago or was never given
};
std::string_view to_string(Revocation why);

/// Decisions, each to be told to the peers named. A lease is in the books when its Grant is
/// returned, and out of them when Expired or Revoked is.

struct Granted {  ///< to home; the host learns of it from home's start message
  RequestId request{};
  Lease lease;
};
struct Queued {  ///< to home
  RequestId request{};
  /// In order of arrival, 1 is the next; fairness may prefer others.
  uint32_t position = 0;
  /// Slots still wanted.
  uint32_t missing = 0;
  Availability hosts;
};
struct Refused {  ///< to home; the request is over
  RequestId request{};
  Client client;
  Refusal why{};
  uint32_t missing = 0;
  Availability hosts;
};
/// To the holder's home: move the guest away and release the lease. The slot stays taken until
/// then.
struct Reclaim {
  Lease lease;
  RequestId in_favour_of{};
};
struct Expired {  ///< to home and host: the guest must go
  Lease lease;
};
struct Revoked {  ///< to home and host
  Lease lease;
  Revocation why{};
};

using Decision = std::variant<Granted, Queued, Refused, Reclaim, Expired, Revoked>;
using Decisions = std::vector<Decision>;

}  // namespace hob::coordinator
