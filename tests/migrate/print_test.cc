#include "migrate/print.h"

#include "image_sample.h"
//
#include <sched.h>

#include <algorithm>
#include <catch2/catch.hpp>

using namespace hob::migrate;
using hob::test::sample_image;

namespace {

bool has(const std::vector<std::string>& lines, const std::string& text) {
  return std::any_of(lines.begin(), lines.end(),
                     [&](const auto& line) { return line.find(text) != std::string::npos; });
}

}  // namespace

TEST_CASE("an image in short: how many of what, and how big") {
  Bytes pages;
  const auto lines = print(sample_image(pages), Detail::summary);
  CHECK(lines == std::vector<std::string>{
                     "image: 3 processes, 4 threads, 8.0 KiB of pages, clock at 0.000 s",
                     "standard input: 10 B not yet read",
                     "standard streams: 4 B",
                     "",
                     "process 2: the root, group 2, session 2, on the terminal: thread",
                     "  memory: 80.0 KiB in 3 mappings: kernel's page 8.0 KiB, memory 64.0 KiB, "
                     "private file mapping 8.0 "
                     "KiB; 2 pages in the image",
                     "  program: /bin/program",
                     "  directory: /, umask 022",
                     "  3 threads, 5 descriptors, 1 timer",
                     "",
                     "process 7: child of 2, group 2, session 2, on the terminal: thread",
                     "  memory: 80.0 KiB in 3 mappings: kernel's page 8.0 KiB, memory 64.0 KiB, "
                     "private file mapping 8.0 "
                     "KiB; 0 pages in the image",
                     "  program: /bin/program",
                     "  directory: /, umask 022",
                     "  1 thread, 2 descriptors, 1 timer",
                     "",
                     "process 9: child of 2, group 9, session 2, ended with 0x100 and not reaped",
                 });
}

TEST_CASE("an image in full names every thread, mapping, descriptor and page") {
  Bytes pages;
  Image image = sample_image(pages);
  image.processes[0].threads[1].registers.rip = 0x401000;
  image.processes[0].actions[0].handler = 1;
  image.descriptions[0].position = 77;
  image.processes[0].threads[1].policy = SCHED_BATCH;
  image.processes[0].memory_score = 700;
  const auto lines = print(image, Detail::all);
  CHECK(has(lines, "thread 4 (thread): nice 0, blocked none"));
  CHECK(has(lines, "rip 0000000000401000"));
  CHECK(has(lines, "    asks for: scheduling class 0x3, disk priority 0x0"));
  CHECK(has(lines, "  asks for: out-of-memory score 700"));
  CHECK(has(lines,
            "000000001000-000000003000 r-xp    8.0 KiB  rebound  private file mapping "
            "/bin/program from 0x0"));
  CHECK(has(lines, "000000010000-000000020000 rw-p   64.0 KiB  moved    memory"));
  CHECK(has(lines, "fd 0: description 0, file (rebound), read, /tmp/x at 77"));
  CHECK(has(lines,
            "fd 5: description 1, pipe, reading (moved), read, pipe 0 with 100 B, "
            "close-on-exec"));
  CHECK(has(lines, "page 000000011000"));
  CHECK(has(lines, "ignored HUP"));
  CHECK(has(lines, "pipe 0: 100 B in it"));
  CHECK(has(lines, "socket 0: stream, listens, 0 B in 0 messages waiting, is /tmp/socket"));
  CHECK(
      has(lines, "network socket 0: TCP at 127.0.0.1:80 to 127.0.0.1:5000, socket 1, 5 B waiting"));
  CHECK(has(lines, "seccomp filters 0, 0"));
  CHECK(has(lines, "seccomp filter 0: 2 instructions, logs"));
  CHECK(has(lines, "/dev/pts/1: 24 rows, 80 columns, foreground group 7, 5 B typed, 7 B printed"));
  CHECK(has(lines, "lock: POSIX, exclusive, bytes 10 to 20, fd 5 of process 7"));
}

TEST_CASE("an image cannot write to its reader's terminal") {
  Bytes pages;
  Image image = sample_image(pages);
  const std::string evil = "/\x1b[2J\r\n";
  image.processes[0].threads[0].name = evil;
  image.processes[0].directory = evil;
  image.processes[0].files[0].path = evil;
  image.descriptions[0].path = evil;
  image.objects.push_back({ObjectKind::file, evil, 0, 0, 0, 0, 0, {}});
  for (const std::string& line : print(image, Detail::all))
    for (const char c : line) CHECK(static_cast<unsigned char>(c) >= 0x20);
}

TEST_CASE("an announcement") {
  Bytes pages;
  Announcement announcement;
  announcement.platform.vdso.resize(8192);
  announcement.platform.state.size = 832;
  announcement.platform.features = "avx2 sse4_2";
  announcement.tree = sample_image(pages).tree;
  const auto lines = print(announcement, Detail::summary);
  CHECK(lines.size() == 5);
  CHECK(lines[0] ==
        "announcement: 3 processes, swap-out, vdso of 8.0 KiB, processor state of 832 B");
  CHECK(lines[1] == "processor: avx2 sse4_2");
}

TEST_CASE("sizes for people") {
  CHECK(size_for_people(0) == "0 B");
  CHECK(size_for_people(1023) == "1023 B");
  CHECK(size_for_people(1536) == "1.5 KiB");
  CHECK(size_for_people(UINT64_MAX) == "16.0 EiB");
}
