#include "migrate/sock_diag.h"

#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <cerrno>
#include <string>

#include "base/fd.h"

namespace hob::migrate {

Result<std::vector<std::byte>> ask_sock_diag(std::span<const std::byte> request, size_t least,
                                             std::string_view what, std::string_view module) {
  Fd netlink(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG));
  if (!netlink) return Error::sys("open", "netlink");
  nlmsghdr question{};
  question.nlmsg_len = static_cast<uint32_t>(sizeof question + request.size());
  question.nlmsg_type = SOCK_DIAG_BY_FAMILY;
  question.nlmsg_flags = NLM_F_REQUEST;
  const iovec pieces[] = {{&question, sizeof question},
                          {const_cast<std::byte*>(request.data()), request.size()}};
  alignas(nlmsghdr) std::byte answer[4096];
  if (::writev(netlink.get(), pieces, 2) < 0) return Error::sys("ask", "netlink");
  const ssize_t size = ::recv(netlink.get(), answer, sizeof answer, 0);
  const auto* head = reinterpret_cast<const nlmsghdr*>(answer);
  if (size < 0 || !NLMSG_OK(head, static_cast<unsigned>(size)))
    return Error::sys("ask", "netlink", size < 0 ? errno : EPROTO);
  if (head->nlmsg_type == NLMSG_ERROR) {
    if (head->nlmsg_len < NLMSG_LENGTH(sizeof(nlmsgerr)))
      return Error::sys("look up", what, EPROTO);
    const auto* error = static_cast<const nlmsgerr*>(NLMSG_DATA(head));
    return Error::sys("look up", what, -error->error,
                      "is " + std::string(module) + " in the kernel?");
  }
  if (head->nlmsg_type != SOCK_DIAG_BY_FAMILY || head->nlmsg_len < NLMSG_LENGTH(least))
    return Error::sys("look up", what, EPROTO);
  const std::byte* message = answer + NLMSG_HDRLEN;
  return std::vector<std::byte>(message, static_cast<const std::byte*>(answer) + head->nlmsg_len);
}

}  // namespace hob::migrate
