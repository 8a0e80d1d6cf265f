#include "image_sample.h"

#include <sched.h>
#include <sys/resource.h>

#include <csignal>

#include <cstring>
#include <random>

#include <catch2/catch.hpp>

using namespace hob;
using namespace hob::migrate;
using namespace hob::test;

TEST_CASE("an image comes back as it was") {
  Bytes pages;
  const Image image = sample_image(pages);
  const Bytes bytes = encode_whole(image);
  auto decoded = decode_image(bytes);
  REQUIRE(decoded.ok());
  CHECK(decoded->tree == image.tree);
  CHECK(encode_whole(*decoded) == bytes);  // all of it, then
  CHECK(std::memcmp(decoded->processes[0].page_bytes.data(), pages.data(), pages.size()) == 0);
}

TEST_CASE("an announcement comes back as it was") {
  Bytes pages;
  Announcement a;
  a.tree = sample_image(pages).tree;
  a.platform.vdso.resize(8192);
  a.platform.state = {11008, {{2, 576, 256}, {18, 2816, 8192}}};
  a.platform.features = "avx avx2";
  auto decoded = decode_announcement(encode(a));
  REQUIRE(decoded.ok());
  CHECK(decoded->tree == a.tree);
  CHECK(decoded->platform.state.size == 11008);
  CHECK(decoded->platform.state.components == a.platform.state.components);
  CHECK(decoded->platform.features == "avx avx2");
}

TEST_CASE("every truncation of an image is an error") {
  Bytes pages;
  const Bytes bytes = encode_whole(sample_image(pages));
  for (size_t size = 0; size < bytes.size(); size += size < 4000 ? 1 : 37) {
    auto decoded = decode_image(std::span(bytes).first(size));
    REQUIRE_FALSE(decoded.ok());
  }
}

TEST_CASE("a longer image is an error") {
  Bytes pages;
  Bytes bytes = encode_whole(sample_image(pages));
  bytes.push_back({});
  CHECK_FALSE(decode_image(bytes).ok());
}

TEST_CASE("flipped bits are an error or another valid image, never more") {
  Bytes pages;
  const Bytes good = encode_whole(sample_image(pages));
  std::mt19937 random(1);
  size_t accepted = 0;
  for (int i = 0; i < 20000; i++) {
    Bytes bytes = good;
    for (unsigned n = 1 + random() % 4; n-- > 0;)
      bytes[random() % 3000] ^= static_cast<std::byte>(1u << random() % 8);
    auto decoded = decode_image(bytes);
    if (!decoded) continue;
    accepted++;
    CHECK(encode_whole(*decoded) == bytes);
  }
  CHECK(accepted > 0);
}

TEST_CASE("an image whose parts do not fit together is an error") {
  Bytes pages;
  auto refused = [&](auto&& damage) {
    Image image = sample_image(pages);
    damage(image);
    auto decoded = decode_image(encode_whole(image));
    return !decoded.ok() && decoded.error().code == EBADMSG;
  };
  CHECK_FALSE(refused([](Image&) {}));
  CHECK(refused([](Image& i) { i.tree[1].pid = 2; }));
  CHECK(refused([](Image& i) { i.tree[1].parent = 77; }));
  CHECK(refused([](Image& i) { i.tree[0].zombie = 1; }));
  CHECK(refused([](Image& i) { i.tree.clear(); }));
  CHECK(refused([](Image& i) { i.processes.pop_back(); }));
  CHECK(refused([](Image& i) { i.processes[0].threads.clear(); }));
  CHECK(refused([](Image& i) { i.processes[0].threads[1].tid = 7; }));
  CHECK(refused([](Image& i) { i.processes[0].threads[1].name = "sixteen letters!"; }));
  CHECK(refused([](Image& i) { i.processes[0].threads[0].extended_state.clear(); }));
  CHECK(refused([](Image& i) { i.processes[0].mappings[0].file = 1; }));
  CHECK(refused([](Image& i) { i.processes[0].mappings[1].range.start = 0x2000; }));
  CHECK(refused([](Image& i) { i.processes[0].mappings[1].range.end = 0x20001; }));
  CHECK(refused([](Image& i) { i.processes[0].mappings[1].range.end = 0x800000000000; }));
  CHECK(refused([](Image& i) { i.processes[0].mappings[1].shared = 1; }));
  CHECK(refused([](Image& i) { i.processes[0].executable = 3; }));
  CHECK(refused([](Image& i) { i.processes[0].files[0].path = "bin/program"; }));
  CHECK(refused([](Image& i) { i.processes[0].directory = ""; }));
  CHECK(refused([](Image& i) { i.processes[0].pages[1] = 0x28000; }));
  CHECK(refused([](Image& i) { i.processes[0].pages = {0x11000, 0x2000}; }));
  CHECK(refused([](Image& i) { i.processes[0].pages.pop_back(); }));
  CHECK(refused([](Image& i) { i.processes[0].descriptors[1].number = 0; }));
  CHECK(refused([](Image& i) { i.processes[0].descriptors[1].description = 5; }));
  CHECK(refused([](Image& i) { i.descriptions[1].pipe = 1; }));
  CHECK(refused([](Image& i) { i.descriptions[0].path = std::string("/a\0b", 4); }));
  CHECK(refused([](Image& i) { i.processes[0].limits.resize(17); }));
  CHECK(refused([](Image& i) { i.processes[0].limits[RLIMIT_RTPRIO].hard = 1; }));
  CHECK(refused([](Image& i) { i.processes[0].limits[RLIMIT_NICE].soft = 1; }));
  CHECK(refused([](Image& i) { i.processes[0].threads[0].policy = SCHED_FIFO; }));
  CHECK(refused([](Image& i) { i.processes[0].threads[0].disk_priority = 1 << 13; }));
  CHECK(refused([](Image& i) { i.processes[0].memory_score = -1001; }));
  CHECK(refused([](Image& i) { i.processes[0].stop_signal = SIGKILL; }));
  CHECK(refused([](Image& i) { i.processes[0].untold = Untold::stopped; }));
  CHECK(refused([](Image& i) { i.processes[0].threads[0].wait_end = -1; }));
  CHECK(refused([](Image& i) { i.processes[0].threads[0].wait_end = 1; }));
  CHECK(refused([](Image& i) { i.processes[0].threads[0].speculation[1] = 32; }));
  CHECK(refused([](Image& i) { i.processes[0].no_huge_pages = 4; }));
  CHECK(refused([](Image& i) { i.processes[0].mappings[1].kind = MappingKind::huge; }));
  CHECK(refused([](Image& i) {
    ObjectImage& object = i.objects.emplace_back();
    object.size = 5;
    object.huge = 1;
  }));
  CHECK(refused([](Image& i) { i.tree[1].exit_signal = 65; }));
  CHECK(refused([](Image& i) { i.processes[0].mappings[1].kind = MappingKind::segment; }));
  CHECK(refused([](Image& i) { i.ipc.segments.push_back({1, 1, 01000, 100, 0, {}}); }));
  CHECK(refused([](Image& i) { i.ipc.segments.push_back({1, 1, 0600, 0, 0, {}}); }));
  CHECK(refused([](Image& i) { i.ipc.segments.push_back({1, 1, 0600, 4, 0, {{4, Bytes(1)}}}); }));
  CHECK(refused([](Image& i) { i.ipc.segments.push_back({-1, 1, 0600, 4, 0, {}}); }));
  CHECK(refused([](Image& i) { i.ipc.semaphores.push_back({1, 1, 0600, {}}); }));
  CHECK(refused([](Image& i) { i.ipc.queues.push_back({1, 1, 0600, 10, {{0, {}}}}); }));
  CHECK(refused([](Image& i) { i.ipc.files.push_back({"../x", 0600, 0, 0, {}}); }));
  CHECK(refused([](Image& i) { i.ipc.files.push_back({"..", 0600, 0, 0, {}}); }));
  CHECK(refused([](Image& i) { i.ipc.files.push_back({"", 0600, 0, 0, {}}); }));
  CHECK(refused([](Image& i) { i.ipc.files.push_back({"x", 04600, 0, 0, {}}); }));
  CHECK(refused([](Image& i) { i.processes[0].vdso = 1; }));
  CHECK(refused([](Image& i) { i.processes[0].mappings.pop_back(); }));
  CHECK(refused([](Image& i) { i.vdsos[0].resize(kPage); }));
  CHECK(refused([](Image& i) { i.vdsos[0].resize(100); }));
  CHECK(refused([](Image& i) { i.vdsos.resize(4, Bytes(kPage)); }));
  CHECK(refused([](Image& i) { i.sockets[0].descriptor = 5; }));
  CHECK(refused([](Image& i) { i.sockets[0].process = 1; }));
  CHECK(refused([](Image& i) { i.sockets[0].process = 7; }));
  CHECK(refused([](Image& i) { i.sockets[0].name.clear(); }));
  CHECK(refused([](Image& i) { i.sockets[0].name = std::string("/a\0b", 4); }));
  CHECK(refused([](Image& i) { i.sockets[0].name.resize(109, 'x'); }));
  CHECK(refused([](Image& i) { i.sockets[0].name = std::string("\0abstract", 9); }));
  CHECK(refused([](Image& i) { i.sockets[0].queue.resize(1); }));
  CHECK(refused([](Image& i) { i.sockets[0].type = 2; }));
  CHECK(refused([](Image& i) { i.sockets[1].name = "/tmp/other"; }));
  const auto inet_refused = [&](const std::function<void(InetImage&)>& spoil) {
    return refused([&](Image& i) { spoil(i.inet_sockets[0]); });
  };
  CHECK(inet_refused([](InetImage& s) { s.family = 3; }));
  CHECK(inet_refused([](InetImage& s) { s.type = 3; }));
  CHECK(inet_refused([](InetImage& s) { s.type = 2; }));
  CHECK(inet_refused([](InetImage& s) { s.state = InetState::listening; }));
  CHECK(inet_refused([](InetImage& s) { s.local.address[12] = 10; }));
  CHECK(inet_refused([](InetImage& s) { s.remote.address[12] = 10; }));
  CHECK(inet_refused([](InetImage& s) { s.local.port = 0; }));
  CHECK(inet_refused([](InetImage& s) { s.remote.port++; }));
  CHECK(inet_refused([](InetImage& s) { s.peer = 0; }));
  CHECK(inet_refused([](InetImage& s) { s.peer = -2; }));
  CHECK(inet_refused([](InetImage& s) { s.peer = -1; }));
  CHECK(inet_refused([](InetImage& s) { s.descriptor = 11; }));
  CHECK(inet_refused([](InetImage& s) { s.process = 9; }));
  CHECK(inet_refused([](InetImage& s) { s.shutdown = 4; }));
  CHECK(inet_refused([](InetImage& s) { s.broken = 2; }));
  CHECK(inet_refused([](InetImage& s) { s.buffer_locks = 4; }));
  CHECK(inet_refused([](InetImage& s) { s.receive_buffer = 1u << 31; }));
  CHECK(inet_refused([](InetImage& s) { s.options.pop_back(); }));
  CHECK(inet_refused([](InetImage& s) { s.options[0].resize(5); }));
  CHECK(inet_refused([](InetImage& s) { s.queue.resize((64u << 20) + 1); }));
  CHECK(refused([](Image& i) { i.filters[0].code.resize(12); }));
  CHECK(refused([](Image& i) { i.filters[0].code.clear(); }));
  CHECK(refused([](Image& i) { i.filters[0].code.resize(8 * 4097); }));
  CHECK(refused([](Image& i) { i.filters[0].log = 2; }));
  CHECK(refused([](Image& i) { i.processes[0].threads[0].filters = {1}; }));
  CHECK(refused([](Image& i) { i.processes[0].threads[0].filters.resize(16385); }));
  CHECK(refused([](Image& i) { i.descriptions[3].socket = 2; }));
  CHECK(refused([](Image& i) { i.descriptions[0].watches = {{0, 1, "/x"}}; }));
  CHECK(refused([](Image& i) { i.descriptions[0].watches = {{2, 1, "/x"}, {2, 1, "/y"}}; }));
  CHECK(refused([](Image& i) { i.descriptions[0].watches = {{kMostWatch + 1, 1, "/x"}}; }));
  CHECK(refused([](Image& i) { i.descriptions[0].watches = {{1, 1, "x"}}; }));
  CHECK(refused([](Image& i) { i.descriptions[0].of = -2; }));
  CHECK(refused([](Image& i) { i.descriptions[0].owner_type = 4; }));
  CHECK(refused([](Image& i) { i.descriptions[0].owner_type = 1; }));
  CHECK(refused([](Image& i) { i.descriptions[0].owner_signal = 65; }));
  CHECK(refused([](Image& i) { i.tree[0].pty = 2; }));
  CHECK(refused([](Image& i) { i.tree[0].pty = 256; }));
  CHECK(refused([](Image& i) { i.ptys[1].number = 1; }));
  CHECK(refused([](Image& i) { i.ptys[1].number = 256; }));
  CHECK(refused([](Image& i) { i.ptys[0].settings.pop_back(); }));
  CHECK(refused([](Image& i) { i.ptys[0].typed.resize(2 << 20); }));
  CHECK(refused([](Image& i) {
    i.descriptions[0].kind = DescriptionKind::pty_slave;
    i.descriptions[0].pty = 2;
  }));
  CHECK(refused([](Image& i) { i.pipes[0].path = "relative"; }));
  CHECK(refused([](Image& i) { i.locks[0].process = 2; }));
  CHECK(refused([](Image& i) { i.locks[0].descriptor = 6; }));
  CHECK(refused([](Image& i) { i.locks[0].start = 21; }));
  CHECK(refused([](Image& i) { i.locks[0].end = kLockToEnd + 1; }));
  CHECK(refused([](Image& i) { i.locks[0].write = 2; }));
  CHECK(refused([](Image& i) { i.locks[1].start = 1; }));
}
