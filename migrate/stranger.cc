#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "migrate/captive.h"
#include "migrate/check.h"
#include "migrate/parts.h"

/// Processes that are no guests, as examine_process() sees them.
namespace hob::migrate {
namespace {

bool is_terminal(unsigned major) {
  constexpr unsigned kConsole = 4, kFirstPty = 136, kLastPty = 143;  // Linux's devices.txt
  return major == kConsole || (major >= kFirstPty && major <= kLastPty);
}

/// What a shadow would relay if the process had been started as a job: whatever it is.
std::vector<External> standard_streams(Tid process, std::vector<Fd>& held) {
  std::vector<External> streams;
  for (int number : {0, 1, 2}) {
    const std::string path = proc::path(process, "fd/" + std::to_string(number));
    Fd place(::open(path.c_str(), O_PATH | O_CLOEXEC));
    struct stat st;
    if (!place || ::fstat(place.get(), &st) < 0) continue;
    if (S_ISCHR(st.st_mode) && !is_terminal(major(st.st_rdev))) continue;
    streams.push_back({static_cast<External::Kind>(number), place.get(), -1});
    held.push_back(std::move(place));
  }
  return streams;
}

Error no_look(const std::string& subject, int code, std::string_view hint) {
  return Error::sys("check", subject, code, hint);
}

}  // namespace

Result<Findings> examine_process(pid_t number) {
  const Tid process{number};
  const std::string subject = "process " + std::to_string(number);
  auto status = proc::status(process);
  if (!status) return no_look(subject, ESRCH, "name one that `ps` shows");
  const uid_t user = status->uid[0];
  if (::getuid() != 0 && ::getuid() != user) return no_look(subject, EPERM, "it is another user's");
  std::vector<Fd> held;
  Guest guest;
  guest.root = number;
  guest.user = {user, status->gid[0], {}};
  guest.externals = standard_streams(process, held);
  Findings found = TRY(examine(guest));
  if (user == 0 || guest.user.gid == 0)
    found.obstacles.insert(
        found.obstacles.begin(),
        {obstacle(subject, "it is root's, and jobs of root are not taken").text});
  // What could not be seen is not to be called movable. A setuid program has been named already.
  const auto maps = proc::maps(process);
  const auto descriptors = proc::descriptors(process);
  if (found.obstacles.empty() && (!maps || !descriptors))
    return no_look(subject, (maps ? descriptors.error() : maps.error()).code,
                   "it lets only root look; ask again as root");
  return found;
}

}  // namespace hob::migrate
