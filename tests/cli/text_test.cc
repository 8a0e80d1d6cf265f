#include "cli/text.h"

#include "base/host_name.h"

#include <csignal>

#include "cli/say.h"
//
#include <catch2/catch.hpp>

using namespace hob;
using namespace hob::cli;

TEST_CASE("a quoted word is one word of a shell") {
  CHECK(quoted("") == "''");
  CHECK(quoted("a b$c") == "'a b$c'");
  CHECK(quoted("it's") == "'it'\\''s'");
}

TEST_CASE("durations are read with their units, and nothing else is") {
  CHECK(duration_from_text("90") == seconds(90));
  CHECK(duration_from_text("1.5s") == milliseconds(1500));
  CHECK(duration_from_text("500ms") == milliseconds(500));
  CHECK(duration_from_text("10m") == minutes(10));
  CHECK(duration_from_text("2h") == hours(2));
  CHECK(duration_from_text("1d") == hours(24));
  for (const char* text :
       {"", "s", "0", "-1", "1x", "1 s", "inf", "nan", "1e3", "1s1", "99999999999999d"}) {
    CAPTURE(text);
    CHECK_FALSE(duration_from_text(text));
  }
}

TEST_CASE("durations and sizes for people") {
  CHECK(for_people(seconds(3)) == "3s");
  CHECK(for_people(seconds(125)) == "2m05s");
  CHECK(for_people(minutes(250)) == "4h10m");
  CHECK(for_people(hours(74)) == "3d02h");
  CHECK(for_people(-seconds(1)) == "0s");
  CHECK(precise(microseconds(2345)) == "2.35 ms");
  CHECK(precise(milliseconds(12)) == "12 ms");
  CHECK(precise(milliseconds(1210)) == "1.21 s");
  CHECK(bytes_for_people(0) == "0 B");
  CHECK(bytes_for_people(4096) == "4.0 KiB");
  CHECK(bytes_for_people(312ull << 20) == "312 MiB");
  CHECK(bytes_for_people(UINT64_MAX) == "16.0 EiB");
}

TEST_CASE("signals by name and number") {
  CHECK(signal_from_text("TERM") == SIGTERM);
  CHECK(signal_from_text("sigusr1") == SIGUSR1);
  CHECK(signal_from_text("9") == 9);
  CHECK(signal_from_text("64") == 64);
  for (const char* text : {"", "0", "65", "-9", "SIG", "TERMX", "9x"})
    CHECK_FALSE(signal_from_text(text));
}

TEST_CASE("host names") {
  for (const char* text : {"h1", "a.b-c_d", "10.0.0.1"}) CHECK(is_host_name(text));
  for (const char* text : {"", "=h1", "-h", ".h", "a b", "a/b", "\xff"})
    CHECK_FALSE(is_host_name(text));
  CHECK_FALSE(is_host_name(std::string(64, 'a')));
}

TEST_CASE("a table's columns line up, also with characters of several bytes") {
  Table table({"NAME", "N", "TEXT"}, {1});
  table.add({"h\xc3\xa9", "7", "x"});
  table.add({"longer", "123", ""});
  CHECK(table.text(true) == "NAME      N  TEXT\nh\xc3\xa9        7  x\nlonger  123  -\n");
}

TEST_CASE("control characters of others are not printed") {
  CHECK(printable("a\x1b[1m\tb\x7f\n") == "a?[1m?b??");
}
