#pragma once

#include <string>

#include "base/time.h"
#include "cli/options.h"
#include "wire/invitation.h"

/// `remote cell`: how a cell begins and how workstations come into it and leave it. Part of
/// hob-cell, which `remote` execs: only this needs ZeroMQ and the config files.
///
/// Each function prints what it has done or why not, and returns an exit status. What fails leaves
/// the machine as it was.
namespace hob::cli {

/// Makes the coordinator's key and configuration. Refuses to overwrite either.
int cell_init(const CellInit& options);
/// Asks the coordinator on this machine for an invitation and prints it, one line.
int cell_invite(const CellInvite& options);
/// Prints the invitations that can still be used.
int cell_invitations(const CellInvitations& options);
/// Makes this machine's key, has it registered by the coordinator that the invitation names, and
/// writes the configuration of hostd.
int cell_join(const CellJoin& options);
/// Takes a host out of the cell, or withdraws an invitation, at the coordinator.
int cell_remove(const CellRemove& options);

/// The address of this machine from which `endpoint` ("tcp://HOST:PORT") is reached.
Result<std::string> own_address_towards(const std::string& endpoint);

}  // namespace hob::cli
