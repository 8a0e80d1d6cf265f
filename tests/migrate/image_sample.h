#pragma once

#include "migrate/image.h"
#include "migrate/inet.h"

namespace hob::test {

/// A small image with something of most kinds, well-formed. `pages` holds its pages.
inline migrate::Image sample_image(migrate::Bytes& pages) {
  using namespace migrate;
  Image image;
  image.tree = {{2, 0, 2, 2, 1, 0, 0}, {7, 2, 2, 2, 1, 0, 0}, {9, 2, 9, 2, 0, 1, 256}};
  pages.assign(2 * kPage, std::byte{42});
  for (pid_t pid : {2, 7}) {
    ProcessImage& p = image.processes.emplace_back();
    p.pid = pid;
    p.threads.resize(pid == 2 ? 3 : 1);
    for (size_t i = 0; i < p.threads.size(); i++) {
      p.threads[i].tid = pid + static_cast<pid_t>(i);
      p.threads[i].name = "thread";
      p.threads[i].extended_state.resize(832);
      p.threads[i].pending.resize(i);
    }
    p.files = {{"/bin/program", 1000, 5}};
    p.mappings = {{{0x1000, 0x3000}, MappingKind::file, 5, 0, 0, 0},
                  {{0x10000, 0x20000}, MappingKind::anonymous, 3, 0, 0, 0},
                  {{0x30000, 0x32000}, MappingKind::vdso, 5, 0, 0, 0}};
    p.directory = "/";
    p.descriptors = {{0, 0, 0}, {5, 1, 1}};
    p.auxv.resize(32);
    p.limits.resize(16);
    p.timers.resize(1);
  }
  image.processes[0].pages = {0x2000, 0x11000};
  image.processes[0].page_bytes = pages;
  image.vdsos = {Bytes(2 * kPage)};
  image.descriptions.resize(2);
  image.descriptions[0].path = "/tmp/x";
  image.descriptions[1].kind = DescriptionKind::pipe_read;
  image.pipes.resize(1);
  image.pipes[0].content.resize(100);
  image.locks = {{LockKind::posix, 1, 1, 5, 10, 20}, {LockKind::flock, 0, 0, 0}};
  image.ptys = {{1, 0, 1, 0, 7, Bytes(44), 24, 80, 0, 0, "typed", "printed"}, {}};
  image.ptys[1].number = 3;
  image.ptys[1].settings.resize(44);
  image.sockets.resize(2);
  image.sockets[0].type = 1;
  image.sockets[0].state = SocketState::listening;
  image.sockets[0].name = "/tmp/socket";
  image.sockets[0].has_file = 1;
  image.sockets[0].descriptor = 9;
  image.sockets[1].type = 2;
  image.descriptions.emplace_back().kind = DescriptionKind::socket;
  image.processes[0].descriptors.push_back({9, 2, 0});
  for (int i = 0; i < 2; i++) {
    image.descriptions.emplace_back().kind = DescriptionKind::inet;
    image.descriptions.back().socket = static_cast<uint32_t>(i);
    image.processes[0].descriptors.push_back({10 + i, static_cast<uint32_t>(3 + i), 0});
    InetImage& s = image.inet_sockets.emplace_back();
    s.state = InetState::connected;
    s.family = 2;
    s.type = 1;
    s.local.address = s.remote.address = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 127, 0, 0, 1};
    s.local.port = i == 0 ? 80 : 5000;
    s.remote.port = i == 0 ? 5000 : 80;
    s.descriptor = 10 + i;
    s.peer = 1 - i;
    s.options.resize(inet_option_count());
    s.queue.resize(5);
  }
  image.filters = {{Bytes(16), 1}};
  image.processes[0].threads[1].filters = {0, 0};
  image.input.resize(10);
  image.hook_bytes = "hook";
  image.monotonic = 123;
  return image;
}

}  // namespace hob::test
