#include "hostd/users.h"

#include <pwd.h>

#include <map>
#include <vector>

namespace hob::hostd {

std::string user_name(uid_t uid) {
  static std::map<uid_t, std::string> names;
  auto it = names.find(uid);
  if (it != names.end()) return it->second;
  std::vector<char> buffer(16384);
  passwd entry{}, *found = nullptr;
  std::string name = "uid " + std::to_string(uid);
  if (::getpwuid_r(uid, &entry, buffer.data(), buffer.size(), &found) == 0 && found != nullptr)
    name = found->pw_name;
  return names[uid] = name;
}

}  // namespace hob::hostd
