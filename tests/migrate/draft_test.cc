#include "migrate/draft.h"

#include <catch2/catch.hpp>

using namespace hob::migrate;

namespace {

/// A process with a program, memory and a vdso, alone.
Image alone(Bytes& pages) {
  Image image;
  image.tree = {{2, 0, 2, 2}};
  image.vdsos = {Bytes(kPage)};
  ProcessImage& p = image.processes.emplace_back();
  p.pid = 2;
  p.threads.resize(2);
  p.threads[0].tid = 2;
  p.threads[1].tid = 3;
  p.files = {{"/bin/program", 1000, 5}, {"/lib/library", 2000, 6}};
  p.mappings = {{{0x1000, 0x4000}, MappingKind::file, 5, 0, 0, 0},
                {{0x8000, 0xa000}, MappingKind::file, 5, 0, 0, 1},
                {{0x10000, 0x20000}, MappingKind::anonymous, 3},
                {{0x30000, 0x31000}, MappingKind::vdso, 5}};
  p.directory = "/";
  p.descriptors = {{0, 0, 0}, {3, 1, 1}};
  p.pages = {0x2000, 0x8000};
  pages.assign(kPage, std::byte{1});
  pages.resize(2 * kPage, std::byte{2});
  p.page_bytes = pages;
  image.descriptions.resize(2);
  image.descriptions[0].path = "/tmp/x";
  image.descriptions[1].kind = DescriptionKind::pipe_read;
  image.pipes.resize(1);
  return image;
}

}  // namespace

TEST_CASE("a draft fits the image that is the same, and what can be set later may differ") {
  Bytes drafted_pages, pages;
  const Image draft = alone(drafted_pages);
  Image now = alone(pages);
  CHECK_FALSE(difference(draft, now));
  now.descriptions[0].position = 12;
  now.pipes[0].content.resize(3);
  now.processes[0].mappings[2].range.end = 0x21000;
  now.processes[0].threads[0].name = "renamed";
  CHECK_FALSE(difference(draft, now));
}

TEST_CASE("a draft does not fit") {
  Bytes drafted_pages, pages;
  const Image draft = alone(drafted_pages);
  Image now = alone(pages);
  ProcessImage& p = now.processes[0];
  SECTION("another process") {
    now.tree.push_back({7, 2, 2, 2});
  }
  SECTION("a thread has come") {
    p.threads.emplace_back().tid = 4;
  }
  SECTION("another thread") {
    p.threads[1].tid = 4;
  }
  SECTION("another program") {
    p.executable = 1;
  }
  SECTION("another file at the same place") {
    now.descriptions[0].path = "/tmp/y";
  }
  SECTION("other flags") {
    now.descriptions[0].flags = 1;
  }
  SECTION("another number") {
    p.descriptors[1].number = 4;
  }
  SECTION("a file that the draft has not opened is mapped") {
    p.files.push_back({"/lib/other", 1, 1});
    p.mappings[1].file = 2;
  }
  SECTION("the same file, written since") {
    p.files[1].modified++;
  }
  SECTION("the vdso is elsewhere") {
    p.mappings[3].range = {0x40000, 0x41000};
  }
  SECTION("another directory") {
    p.directory = "/tmp";
  }
  SECTION("another personality") {
    p.personality = 1;
  }
  SECTION("it has been stopped") {
    p.stop_signal = SIGTSTP;
  }
  SECTION("shared memory") {
    now.ipc.segments.resize(1);
  }
  SECTION("a socket") {
    now.sockets.resize(1);
  }
  CHECK(difference(draft, now));
}

TEST_CASE("mappings are kept where nothing about them differs") {
  Bytes drafted_pages, pages;
  const Image draft = alone(drafted_pages);
  Image now = alone(pages);
  ProcessImage& p = now.processes[0];
  std::swap(p.files[0], p.files[1]);  // in the order in which they were found
  p.mappings[0].file = 1;
  p.mappings[1].file = 0;
  p.mappings[1].protection = 1;
  p.mappings.insert(p.mappings.begin() + 2, {{0xb000, 0xc000}, MappingKind::anonymous, 3});
  const KeptMappings kept = kept_mappings(draft.processes[0], p);
  CHECK(kept.drafted == std::vector<bool>{true, false, true, true});
  CHECK(kept.now == std::vector<bool>{true, false, false, true, true});
}

TEST_CASE("pages that were left out are put back, but not into mappings that are others now") {
  Bytes drafted_pages, pages;
  const Image draft = alone(drafted_pages);
  Image now = alone(pages);
  ProcessImage& p = now.processes[0];
  const DraftedPages before(draft.processes[0], p);
  CHECK(before.has(0x2000, drafted_pages.data()));
  CHECK_FALSE(before.has(0x2000, drafted_pages.data() + kPage));
  CHECK_FALSE(before.has(0x1000, drafted_pages.data()));
  CHECK(before.all() == std::vector<uint64_t>{0x2000, 0x8000});

  Bytes sent(2 * kPage, std::byte{9});
  p.pages = {0x3000, 0x11000};
  p.page_bytes = sent;
  p.mappings[1].protection = 1;
  std::vector<Bytes> storage;
  put_back_pages(now, draft, storage);
  CHECK(p.pages == std::vector<uint64_t>{0x2000, 0x3000, 0x11000});
  REQUIRE(p.page_bytes.size() == 3 * kPage);
  CHECK(p.page_bytes[0] == std::byte{1});
  CHECK(p.page_bytes[kPage] == std::byte{9});

  p.pages = {0x2000};
  p.page_bytes = std::span(sent).first(kPage);
  put_back_pages(now, draft, storage);
  CHECK(p.pages == std::vector<uint64_t>{0x2000});
  CHECK(p.page_bytes[0] == std::byte{9});
}
