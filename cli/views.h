#pragma once

#include <string>

#include "cli/options.h"
#include "wire/message.h"

/// What hostd answered, as text for people or for programs. Pure. JSON documents hold "schema": 1,
/// which changes when a member goes or changes its meaning; members may be added.
namespace hob::cli {

std::string view(const pb::HostList& hosts, const HostsOptions& options);
/// `now_wall_ns`: CLOCK_REALTIME, for ages.
std::string view(const pb::JobList& jobs, const PsOptions& options, uint64_t now_wall_ns);
std::string view(const pb::Checked& checked, const CheckOptions& options);
std::string view(const pb::InvitationList& list, const CellInvitations& options);
std::string view(const pb::History& history, const HistoryOptions& options);

}  // namespace hob::cli
