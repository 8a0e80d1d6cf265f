#include "migrate/names.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>

#include "base/log.h"
#include "migrate/here.h"
#include "migrate/proc.h"

namespace hob::migrate {

std::string shown(const std::string& name) {
  std::string text = name;
  // Names may hold any bytes; this goes to logs and terminals.
  std::replace(text.begin(), text.end(), '\0', '@');
  std::replace_if(
      text.begin(), text.end(), [](char c) { return c < ' ' || c == 0x7f; }, '?');
  return text;
}

namespace {

bool is_path(const SocketImage& s) {
  return !s.name.empty() && s.name[0] != '\0';
}

/// As the process sees it: its root, its working directory.
std::string seen_by(Tid process, const std::string& name) {
  return name[0] == '/' ? proc::path(process, "root") + name : proc::path(process, "cwd/") + name;
}

/// The socket of the image whose file has that path; several may have the name.
const SocketImage* whose_file(const Image& image, const std::string& name) {
  const auto at = std::find_if(image.sockets.begin(), image.sockets.end(),
                               [&](const auto& s) { return s.has_file && s.name == name; });
  return at == image.sockets.end() ? nullptr : &*at;
}

Result<void> check_path(const Image& image, const SocketImage& s, Tid process) {
  struct stat st {};
  if (::lstat(seen_by(process, s.name).c_str(), &st) < 0) {
    if (errno == ENOENT) return {};
    return Error::sys("look at", shown(s.name));
  }
  const SocketImage* owner = whose_file(image, s.name);
  if (S_ISSOCK(st.st_mode) && owner != nullptr && st.st_ino == owner->inode) return {};
  return Error{"bind " + shown(s.name) + ": another file has that name here; remove it",
               EADDRINUSE};
}

Result<void> check_abstract(const SocketImage& s) {
  const std::string list = TRY(read_file("/proc/net/unix"));
  if (list.find(" " + shown(s.name) + "\n") == std::string::npos) return {};
  return Error{"bind " + shown(s.name) + ": another program has that address here", EADDRINUSE};
}

/// bind(2), and listen(2) for one that listens, in its process. Returns what bind said.
Result<int> bind_in(const Foothold& foothold, const ProcessImage& process, const SocketImage& s,
                    bool replaces) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  s.name.copy(address.sun_path, sizeof address.sun_path);
  const uint64_t length = offsetof(sockaddr_un, sun_path) + s.name.size() + (is_path(s) ? 1 : 0);
  Scratch scratch = TRY(Scratch::borrow(foothold, 2 * kPage));
  // A path ends with a zero byte also where it fills the address.
  std::vector<std::byte> bytes(sizeof address + 1);
  std::copy_n(reinterpret_cast<const std::byte*>(&address), sizeof address, bytes.begin());
  const RemoteAddress at = scratch.workspace().put_bytes(bytes);
  const uint64_t path = (at + offsetof(sockaddr_un, sun_path)).value;
  const auto fd = static_cast<uint64_t>(s.descriptor);
  int result = 0;
  Batch batch;
  if (is_path(s)) {
    if (replaces) batch.may(SYS_unlink, {path});  // the old one: check_path() has seen it
    batch.must("set the umask of", SYS_umask, {~s.mode & 0777});
  }
  batch.then(SYS_bind, {fd, at.value, length}, [&result](int64_t r) -> Result<void> {
    result = static_cast<int>(-r);
    return {};
  });
  if (is_path(s)) {
    batch.must("set the umask of", SYS_umask, {process.umask & 0777});
    if (!s.has_file) batch.may(SYS_unlink, {path});
  }
  if (s.state == SocketState::listening) batch.may(SYS_listen, {fd, s.backlog});
  batch.place(scratch.workspace());
  TRY(scratch.write());
  TRY(batch.start(foothold.thread, scratch.workspace(), foothold.registers));
  TRY(batch.wait(foothold.thread));
  TRY(scratch.read());
  TRY(batch.finish(scratch.workspace()));
  return result;
}

void bind_one(const Image& image, const SocketImage& s, const LockHands& hands) {
  // The source's socket may still be on its way out of the kernel.
  constexpr int kTries = 200;
  constexpr useconds_t kPause = 5000;
  int code = EADDRINUSE;
  Result<void> lent;
  for (int i = 0; i < kTries && lent && code == EADDRINUSE; i++) {
    if (i > 0) ::usleep(kPause);
    lent = hands.lend(s.process, [&](const Foothold& foothold) -> Result<void> {
      code = TRY(
          bind_in(foothold, image.processes[s.process], s, whose_file(image, s.name) != nullptr));
      return {};
    });
  }
  if (!lent) log::error("bind {}: {}", shown(s.name), lent.error().text);
  if (lent && code != 0)
    log::error("{}", Error::sys("bind", shown(s.name), code, "the guest goes on without").text);
}

}  // namespace

Result<void> check_names(const Image& image, const LockHands& hands) {
  for (const SocketImage& s : image.sockets) {
    if (s.name.empty()) continue;
    if (is_path(s))
      TRY(check_path(image, s, hands.pid(s.process)));
    else if (image.network != TRY(network_of(hands.pid(s.process))))
      TRY(check_abstract(s));
  }
  return {};
}

void bind_names(const Image& image, const LockHands& hands) {
  // An accepted socket has the path of the one that listens, whose file is the one that stays.
  for (bool has_file : {false, true})
    for (const SocketImage& s : image.sockets)
      if (!s.name.empty() && (s.has_file != 0) == has_file) bind_one(image, s, hands);
}

}  // namespace hob::migrate
