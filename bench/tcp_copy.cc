#include "bench/tcp_copy.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <thread>
#include <vector>

#include "base/fd.h"
#include "base/time.h"
#include "migrate/proc.h"
#include "migrate/thread_priority.h"

namespace hob::bench {
namespace {

constexpr size_t kChunk = 256u << 10;  // the fastest (ENGINE.md section 3)
constexpr int kBuffer = 4 << 20;       // as the engine's

Result<std::pair<Fd, Fd>> connection() {
  Fd listener(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  Fd from(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in at = {};
  at.sin_family = AF_INET;
  at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof at;
  auto* address = reinterpret_cast<sockaddr*>(&at);
  ::setsockopt(listener.get(), SOL_SOCKET, SO_RCVBUF, &kBuffer, sizeof kBuffer);
  ::setsockopt(from.get(), SOL_SOCKET, SO_SNDBUF, &kBuffer, sizeof kBuffer);
  if (::bind(listener.get(), address, size) < 0 || ::listen(listener.get(), 1) < 0 ||
      ::getsockname(listener.get(), address, &size) < 0 || ::connect(from.get(), address, size) < 0)
    return Error::sys("make", "a TCP connection");
  Fd to(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
  if (!to) return Error::sys("accept", "a TCP connection");
  return std::pair{std::move(from), std::move(to)};
}

Result<void> receive(int from, std::byte* to, size_t size) {
  for (size_t done = 0; done < size;) {
    const ssize_t n = ::recv(from, to + done, std::min(kChunk, size - done), 0);
    if (n <= 0) return Error::sys("receive", "the copy", n < 0 ? errno : EPIPE);
    done += static_cast<size_t>(n);
  }
  return {};
}

Result<void> send(migrate::Tid process, migrate::Range range, int to) {
  std::vector<std::byte> buffer(kChunk);
  for (; !range.empty(); range.start += std::min(kChunk, range.size())) {
    const size_t size = std::min(kChunk, range.size());
    TRY(migrate::proc::read_memory(process, {range.start}, buffer.data(), size));
    TRY(write_all(to, std::span(buffer).first(size), "the copy"));
  }
  return {};
}

}  // namespace

Result<double> bare_tcp_copy(migrate::Tid process) {
  migrate::Range largest;
  for (const migrate::proc::Mapping& m : TRY(migrate::proc::maps(process)))
    if (m.name.empty() && m.range.size() > largest.size()) largest = m.range;
  auto [from, to] = TRY(connection());
  const size_t size = largest.size();
  void* memory = ::mmap(nullptr, size, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) return Error::sys("map", "memory for the copy");
  Result<void> received, sent;
  const Time start = Clock::now();
  std::thread receiver([&, to = to.get()] {
    const migrate::BulkPriority priority(false);  // as the engine's threads that push
    received = receive(to, static_cast<std::byte*>(memory), size);
  });
  std::thread sender([&, from = from.get()] {
    const migrate::BulkPriority priority(false);  // as the engine's threads that push
    sent = send(process, largest, from);
    ::shutdown(from, SHUT_WR);
  });
  receiver.join();
  const Duration took = Clock::now() - start;
  sender.join();
  ::munmap(memory, size);
  TRY(std::move(sent));
  TRY(std::move(received));
  return static_cast<double>(size) / static_cast<double>(took.count());
}

}  // namespace hob::bench
