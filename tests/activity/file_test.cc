#include "journal.h"

#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>

using namespace hob;

namespace {

/// A file source on a file in a directory of its own.
class Rig {
 public:
  Rig() {
    char path[] = "/tmp/hob-file-XXXXXX";
    REQUIRE(::mkdtemp(path) != nullptr);
    directory = path;
    file = directory + "/input";
    loop = EventLoop::create().value();
  }
  ~Rig() { std::filesystem::remove_all(directory); }
  void make() const { std::ofstream(file) << ""; }
  void start() {
    source = make_file_source(*loop, file);
    source->start(journal.callbacks());
  }
  std::string used() const { return "input file " + file; }
  std::string missing() const {
    return "unreadable cannot be read: find " + file + ": No such file or directory";
  }

  std::string directory, file;
  std::unique_ptr<EventLoop> loop;
  Journal journal;
  std::unique_ptr<InputSource> source;
};

}  // namespace

TEST_CASE("each touch and each write of the file is an input") {
  Rig rig;
  rig.make();
  rig.start();
  CHECK(rig.source->name() == "file:" + rig.file);
  CHECK(rig.journal.take() == Lines{"readable"});
  REQUIRE(::utimes(rig.file.c_str(), nullptr) == 0);
  REQUIRE(rig.journal.wait_for(*rig.loop, 1));
  CHECK(rig.journal.take() == Lines{rig.used()});
  std::ofstream(rig.file, std::ios::app) << "x" << std::flush;
  REQUIRE(rig.journal.wait_for(*rig.loop, 1));
  CHECK(rig.journal.take() == Lines{rig.used()});
  REQUIRE(::chmod(rig.file.c_str(), 0600) == 0);
  REQUIRE(rig.journal.wait_for(*rig.loop, 1));
  CHECK(rig.journal.take() == Lines{rig.used()});
  CHECK_FALSE(rig.journal.future);
}

TEST_CASE("other files in the directory are no input, nor is reading") {
  Rig rig;
  rig.make();
  rig.start();
  rig.journal.take();
  std::ofstream(rig.directory + "/other") << "x";
  std::ifstream(rig.file).get();
  Journal::settle(*rig.loop);
  CHECK(rig.journal.take() == Lines{});
}

TEST_CASE("a missing file is unreadable until it exists, and again once it is gone") {
  Rig rig;
  rig.start();
  CHECK(rig.journal.take() == Lines{rig.missing()});
  rig.make();
  REQUIRE(rig.journal.wait_for(*rig.loop, 2));
  CHECK(rig.journal.take() == Lines{rig.used(), "readable"});
  REQUIRE(::unlink(rig.file.c_str()) == 0);
  REQUIRE(Journal::run_until(*rig.loop, [&] {
    return !rig.journal.lines.empty() && rig.journal.lines.back() == rig.missing();
  }));
  rig.journal.take();
  std::ofstream(rig.directory + "/new") << "x";
  REQUIRE(::rename((rig.directory + "/new").c_str(), rig.file.c_str()) == 0);
  REQUIRE(rig.journal.wait_for(*rig.loop, 2));
  CHECK(rig.journal.take() == Lines{rig.used(), "readable"});
}

TEST_CASE("a directory that is missing or goes makes the source unreadable") {
  Rig rig;
  rig.make();
  rig.start();
  rig.journal.take();
  std::filesystem::remove_all(rig.directory);
  const std::string gone = "unreadable cannot be watched: " + rig.directory +
                           " is gone; make it again and restart hostd";
  REQUIRE(Journal::run_until(
      *rig.loop, [&] { return !rig.journal.lines.empty() && rig.journal.lines.back() == gone; }));
  rig.journal.take();
  rig.start();
  CHECK(rig.journal.take() == Lines{"unreadable cannot be watched: watch " + rig.directory +
                                    ": No such file or directory"});
}

TEST_CASE("what idle.sources names is made, and nothing else") {
  auto loop = EventLoop::create().value();
  CHECK(make_input_source(*loop, "evdev", {}).value()->name() == "evdev");
  CHECK(make_input_source(*loop, "tty", {}).value()->name() == "tty");
  CHECK(make_input_source(*loop, "file:/a/b", {}).value()->name() == "file:/a/b");
  CHECK(make_input_source(*loop, "mouse", {}).error().text ==
        "'mouse' is no input source; there are \"evdev\", \"tty\" and \"file:/PATH\"");
}
