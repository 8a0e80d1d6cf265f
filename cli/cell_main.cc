// hob-cell: carries out `remote cell ...`, with the words that the user typed after `remote`.
#include "cli/cell.h"
#include "cli/grammar.h"
#include "cli/say.h"
#include "cli/standard_stream.h"

namespace {

using namespace hob::cli;

struct CarryOut {
  int operator()(const CellInit& options) const { return cell_init(options); }
  int operator()(const CellInvite& options) const { return cell_invite(options); }
  int operator()(const CellInvitations& options) const { return cell_invitations(options); }
  int operator()(const CellJoin& options) const { return cell_join(options); }
  int operator()(const CellRemove& options) const { return cell_remove(options); }
  template <class Other>
  int operator()(const Other&) const {
    say("hob-cell is started by `remote cell`; see `remote help`");
    return kUsage;
  }
};

}  // namespace

int main(int argc, char** argv) {
  occupy_standard_descriptors();
  const Command command = parse({argv + (argc > 0), static_cast<size_t>(argc > 0 ? argc - 1 : 0)});
  return std::visit(CarryOut{}, command);
}
